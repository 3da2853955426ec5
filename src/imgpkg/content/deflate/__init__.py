"""Compression of layers: deflate (RFC 1951) in gzip (RFC 1952), with the same bytes on every machine."""
