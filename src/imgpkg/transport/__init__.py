"""HTTP over sockets: connections, TLS, proxies, and one exchange at a time."""
