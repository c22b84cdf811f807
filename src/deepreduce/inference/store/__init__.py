"""Prepared material on disk: used once, whatever crashes (docs/operate/service.md)."""

from .client import ClientStore
from .server import ServerStore
from .store import Claimed, Purpose, StoreFullError

__all__ = ["Claimed", "ClientStore", "Purpose", "ServerStore", "StoreFullError"]
