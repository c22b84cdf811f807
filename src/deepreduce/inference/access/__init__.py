"""Authentication, authorization and accounting: who may ask, how much, and the log of it (docs/operate/access.md)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
