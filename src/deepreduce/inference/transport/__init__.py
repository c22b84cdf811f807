"""Frames over a byte stream: channel, handshake, TLS, metering. It knows no cryptography of ours."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
