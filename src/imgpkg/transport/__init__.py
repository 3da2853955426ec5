"""WIRE: one HTTP message at a time; knows no registry."""
