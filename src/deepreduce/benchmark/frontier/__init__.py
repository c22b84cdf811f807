"""Measurement of a frontier: its points are exported, run between two processes, and noted in frontier.json."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
