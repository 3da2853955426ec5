"""Copies between registries, tar files and layouts."""
