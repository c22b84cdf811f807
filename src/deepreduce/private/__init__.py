"""The private half: two processes compute a network together and learn nothing else (docs/protocol.md, SECURITY.md).

The names below are loaded when they are first used: a client starts without the server's half.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client
    from .meter import OpPhase, Phase, Run
    from .preparer import Preparer
    from .quota import Quota, Quotas
    from .server import Server
    from .store import ClientStore
    from .streams import client_context, server_context
    from .transport import BusyError

__all__ = [
    "BusyError",
    "Client",
    "ClientStore",
    "OpPhase",
    "Phase",
    "Preparer",
    "Quota",
    "Quotas",
    "Run",
    "Server",
    "client_context",
    "server_context",
]

_HOME = {
    "BusyError": "transport",
    "Client": "client",
    "ClientStore": "store",
    **dict.fromkeys(("OpPhase", "Phase", "Run"), "meter"),
    "Preparer": "preparer",
    **dict.fromkeys(("Quota", "Quotas"), "quota"),
    "Server": "server",
    **dict.fromkeys(("client_context", "server_context"), "streams"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
