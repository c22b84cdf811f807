"""The two-party protocol: both phases of both parties, without sockets (docs/reference/protocol.md)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
