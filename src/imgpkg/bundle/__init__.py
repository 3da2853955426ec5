"""Bundles: their lock files, locations records, tags and nesting."""
