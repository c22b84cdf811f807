"""A traced network as a list of plan operations in floating point; batch normalization and constants are folded.

Below the search, which asks before it trains whether a plan can hold its networks, and below the export.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
