"""Keychains of clouds: one source per file, each a thin layer over the vendor's own SDK."""
