"""Removal of single ReLUs until a budget is met: ``settings`` say how, ``scores`` rank, ``pruning`` removes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
