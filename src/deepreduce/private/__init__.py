"""The private half: two processes compute a network together and learn nothing else (docs/protocol.md, SECURITY.md)."""

from .client import Client
from .meter import OpPhase, Phase, Run
from .server import Server
from .streams import client_context, server_context

__all__ = ["Client", "OpPhase", "Phase", "Run", "Server", "client_context", "server_context"]
