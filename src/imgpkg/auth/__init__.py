"""WHO: a repository in, a decision out."""
