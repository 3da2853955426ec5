"""BYTES: where blobs come from and go to."""
