"""Remove from a repository what nothing needs: what is there, what to remove, and the removal."""
