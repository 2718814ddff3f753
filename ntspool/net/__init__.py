"""Floor 2: adapters to the outside: sockets, TLS, disk, logs."""
