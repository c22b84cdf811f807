"""Which protocol serves a vector: the one place that knows all of them."""

from __future__ import annotations

from ..plan.messages import Vector
from .fused import FusedClient, FusedServer
from .garbled import GarbledClient, GarbledServer
from .rescale import RescaleClient, RescaleServer
from .vectors import ClientVector, ServerVector


def client_vector(vector: Vector, threads: int) -> ClientVector:
    """The client's side of the vector's protocol, with a fresh mask."""
    if vector.protocol == "delphi":
        return GarbledClient(vector, threads)
    return FusedClient(vector, threads) if vector.function == "relu" else RescaleClient(vector, threads)


def server_vector(vector: Vector, threads: int) -> ServerVector:
    """The server's side of the vector's protocol, with fresh seeds."""
    if vector.protocol == "delphi":
        return GarbledServer(vector, threads)
    return FusedServer(vector, threads) if vector.function == "relu" else RescaleServer(vector, threads)
