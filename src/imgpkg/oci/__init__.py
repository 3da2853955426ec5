"""WHAT: values of the OCI specifications, without I/O, clock or environment."""
