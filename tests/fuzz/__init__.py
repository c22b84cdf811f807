"""Fuzzers of every parser of bytes from outside: README.md."""
