"""Store configuration and image references as OCI artifacts, and move bundles between registries."""
