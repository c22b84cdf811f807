"""The private half: two processes compute a network together and learn nothing else (SECURITY.md).

The names below are loaded when they are first used: a client starts without the server's half.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
