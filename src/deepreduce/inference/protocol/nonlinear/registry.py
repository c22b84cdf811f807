"""Registry of the protocols for ReLU, MaxPool and Rescale: the only module that knows all of them."""

from __future__ import annotations

from ....plan.execution.messages import Vector
from .garbled import GarbledClient, GarbledServer
from .table_client import TableClient
from .table_relu import ReluClient, ReluServer
from .table_server import TableServer
from .table_shift import ShiftClient, ShiftServer
from .vector import ClientVector, ServerVector, State


def client_vector(vector: Vector, threads: int, salt: bytes = b"") -> ClientVector:
    """Return the client's side of the vector's protocol, with a fresh mask; ``salt``: of `vector_salts`."""
    return _client(vector)(vector, threads, salt=salt)


def server_vector(vector: Vector, threads: int, salt: bytes = b"") -> ServerVector:
    """Return the server's side of the vector's protocol, with fresh seeds; ``salt``: of `vector_salts`."""
    return _server(vector)(vector, threads, salt=salt)


def restored_client(vector: Vector, state: State, threads: int) -> ClientVector:
    """Return the client's side as its `state` was, ready to answer."""
    return _client(vector).restored(vector, state, threads)


def restored_server(vector: Vector, state: State, threads: int) -> ServerVector:
    """Return the server's side as its `state` was, ready to send."""
    return _server(vector).restored(vector, state, threads)


def _client(vector: Vector) -> type[GarbledClient] | type[TableClient]:
    if vector.protocol == "delphi":
        return GarbledClient
    return ReluClient if vector.function == "relu" else ShiftClient


def _server(vector: Vector) -> type[GarbledServer] | type[TableServer]:
    if vector.protocol == "delphi":
        return GarbledServer
    return ReluServer if vector.function == "relu" else ShiftServer
