"""The two-party protocol: both phases of both parties, without sockets (docs/reference/protocol.md)."""
