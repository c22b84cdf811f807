"""The shared language of both parties: plans, their files, their meaning and their cost."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
