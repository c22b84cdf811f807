"""The client: one connection, material prepared ahead, predictions, and what it does when the server is busy."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
