"""A client of registries: the OCI distribution specification."""
