"""Tar streams, read and written."""
