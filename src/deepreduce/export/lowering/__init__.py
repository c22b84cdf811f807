"""A traced network as a list of plan operations in floating point; batch normalization and constants are folded."""
