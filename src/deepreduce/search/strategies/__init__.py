"""The ways to spend a search's training: all of it, a quarter, successive halving, warm starts."""
