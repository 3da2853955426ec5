"""Objects for the `auth=` of other HTTP clients; each module needs its client to be installed."""
