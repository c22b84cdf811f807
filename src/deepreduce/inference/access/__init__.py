"""Authentication, authorization and accounting: who may ask, how much, and the log of it (docs/operate/access.md)."""
