"""Export of a network to a plan: the one place where torch weights become integers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
