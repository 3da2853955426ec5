"""SPEAK: the distribution specification."""
