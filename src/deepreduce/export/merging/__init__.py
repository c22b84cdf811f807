"""Linear layers with no ReLU between them composed into one, where the cost model says that it pays."""
