"""Authorization at registries: from a challenge to the header that answers it."""
