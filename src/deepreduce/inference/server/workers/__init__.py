"""Worker processes that compute the offline phase, forked from a small process that holds no secrets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
