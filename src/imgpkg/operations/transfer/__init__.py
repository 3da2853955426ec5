"""Blobs as units of work, which any executor of `concurrent.futures` moves, in any process."""
