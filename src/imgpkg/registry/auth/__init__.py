"""Authorization at registries: from a challenge to the Authorization header."""
