"""The private half: two processes compute a network together and learn nothing else (docs/protocol.md, SECURITY.md)."""

from .client import Client
from .meter import OpPhase, Phase, Run
from .preparer import Preparer
from .server import Server
from .store import ClientStore
from .streams import client_context, server_context

__all__ = [
    "Client",
    "ClientStore",
    "OpPhase",
    "Phase",
    "Preparer",
    "Run",
    "Server",
    "client_context",
    "server_context",
]
