"""The values of the OCI specifications: references, descriptors, manifests. Nothing here does I/O."""
