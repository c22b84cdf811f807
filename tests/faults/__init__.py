"""A harness that harms a client and a server while they work, and looks at what is left (docs/operate/faults.md)."""
