"""The IaaS keychains, one file per name; nothing here is imported before it is activated."""
