"""Files of any kind in a registry, as ORAS and others store them: push and pull."""
