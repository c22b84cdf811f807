"""Protocols of ReLU, MaxPool and Rescale, one file each; ``registry`` names them."""
