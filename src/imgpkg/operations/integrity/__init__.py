"""Whether every byte of images has its digest, and everything that they name is there."""
