"""Predictions from a plan alone: bytes and rounds exactly (``traffic``), seconds as a model (``latency``)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
