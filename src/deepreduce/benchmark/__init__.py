"""Measured private runs: two parties on one machine, an emulated link, and the machine's own limits beside them."""
