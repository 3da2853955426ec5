"""Compressed layers: deflate, whose bytes are the same on every machine."""
