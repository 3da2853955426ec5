"""Bytes: layers, tar files of images, OCI layouts, and the folders they become."""
