"""Tar streams: a reader of all formats, and a writer of the headers that Go writes."""
