"""The private half: two processes compute a network together and learn nothing else (SECURITY.md).

The names below are loaded when they are first used: a client starts without the server's half.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .access.quota import Quota, Quotas
    from .client.background import BackgroundPreparer
    from .client.client import Client
    from .server.server import Server
    from .server.settings import ServerSettings
    from .store import ClientStore
    from .transport.errors import BusyError
    from .transport.meter import OpPhase, Phase, Run
    from .transport.streams import client_context, server_context

__all__ = [
    "BackgroundPreparer",
    "BusyError",
    "Client",
    "ClientStore",
    "OpPhase",
    "Phase",
    "Quota",
    "Quotas",
    "Run",
    "Server",
    "ServerSettings",
    "client_context",
    "server_context",
]

_HOME = {
    "BusyError": "transport.channel",
    "Client": "client.client",
    "ClientStore": "store",
    **dict.fromkeys(("OpPhase", "Phase", "Run"), "transport.meter"),
    "BackgroundPreparer": "client.background",
    **dict.fromkeys(("Quota", "Quotas"), "access.quota"),
    "Server": "server.server",
    "ServerSettings": "server.settings",
    **dict.fromkeys(("client_context", "server_context"), "transport.streams"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
