"""Keychains of clouds: one module for each, above the SDK of its vendor."""
