"""The paper's tables and figures, run again: declarative lists of trainings, what they came to, what they claim."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
