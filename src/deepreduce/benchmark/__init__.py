"""Measured private runs: two parties on one machine, an emulated link, and the machine's own limits beside them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
