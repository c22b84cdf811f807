"""Base of both roles of a vector of comparisons or shifts: padding, chunks and the random material.

A vector's protocol is three messages offline (choices up, garbled down, products up) and rounds online of a message
down and one up, each cut into chunks (plan/execution/messages.py). Some protocols have no products.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .... import _core
from ....errors import SessionError
from ....plan.execution.messages import GROUP, HASH_KEY, OT_BLOCK, Chunk, Vector
from ...zeroize import wipe, wiping

Bytes = NDArray[np.uint8]
Ring = NDArray[np.uint64]
State = Mapping[str, NDArray[Any]]  # one-time material as plain arrays, by field or "field.first element of a chunk"


class ClientVector(Protocol):
    """The client's side; after `receive_garbled` it is one-time material, and `answer` consumes it chunk by chunk."""

    vector: Vector
    mask: Ring  # [padded] fresh: the client's share of the result

    def has_chosen(self, chunk: Chunk) -> bool:
        """Return whether the garbled material may arrive."""

    def choose(self, chunk: Chunk, shares: Ring, ot: _core.OtReceiver) -> Bytes:
        """Return the choices message for the chunk's shares [padded]."""

    def receive_garbled(self, chunk: Chunk, content: Bytes, reverse: _core.OtSender) -> Bytes | None:
        """Takes the garbled material, returns the products message."""

    def answer(self, number: int, chunk: Chunk, content: Bytes) -> Bytes:
        """Return the client's message of round ``number``, for the server's."""

    def state(self) -> State:
        """Return what `answer` needs, before its first call; `registry.restored_client` makes a vector of it again."""


class ServerVector(Protocol):
    """The server's side; after `receive_products` it is one-time material."""

    vector: Vector

    def garble(self, chunk: Chunk, choices: Bytes | None, ot: _core.OtSender, reverse: _core.OtReceiver) -> Bytes:
        """Return the garbled message for the client's choices."""

    def receive_products(self, chunk: Chunk, content: Bytes) -> None:
        """Takes the products message."""

    def send(self, number: int, chunk: Chunk, shares: Ring) -> Bytes:
        """Return the server's message of round ``number``, for the chunk's shares [padded]."""

    def receive(self, number: int, chunk: Chunk, shares: Ring, content: Bytes) -> Ring | None:
        """Takes the client's message of a round; returns the server's share of the result [padded] after the last."""

    def state(self) -> State:
        """Return what `send` and `receive` need, before their first call; for `registry.restored_server`."""


def by_chunk(name: str, parts: Mapping[int, NDArray[Any]]) -> State:
    """Return a field that every chunk has, as a state holds it."""
    return {f"{name}.{first}": part for first, part in parts.items()}


def of_chunks(state: State, name: str) -> dict[int, NDArray[Any]]:
    """Return the inverse of `by_chunk`."""
    prefix = f"{name}."
    return {int(key[len(prefix) :]): part for key, part in state.items() if key.startswith(prefix)}


def unpack(content: Bytes, count: int, bits: int) -> Ring:
    """``count`` ring elements of a peer's message. Raises `SessionError` where no party would have packed them so."""
    try:
        values: Ring = _core.unpack(content, count, bits)
    except ValueError:
        raise SessionError("the peer sent ring elements that cannot be read", "connect again") from None
    return values


def narrow(values: Ring, ring_bits: int) -> NDArray[Any]:
    """Return ring elements, or words of which the ring's bits matter, for keeping: in half the bytes where they fit.

    The words given are then wiped.
    """
    if ring_bits > 32:
        return values
    with wiping(values):
        return values.astype(np.uint32)


def wide(values: NDArray[Any]) -> Ring:
    """Return what `narrow` kept as the kernels take it; a copy if it was narrowed."""
    return values.astype(np.uint64, copy=False)


def pad(values: Ring) -> Ring:
    """Return a vector with zeros up to a whole group."""
    missing = -len(values) % GROUP
    return np.concatenate([values, np.zeros(missing, np.uint64)]) if missing else np.ascontiguousarray(values)


def part(values: Ring, chunk: Chunk) -> Ring:
    """Return the chunk's part of a padded vector."""
    return values[chunk.first : chunk.first + chunk.padded]


def group(chunk: Chunk) -> int:
    """Return the number of the chunk's first group within its vector."""
    return chunk.first // GROUP


def random_bytes(count: int) -> Bytes:
    """uint8 [count], fresh, and without the copy that `os.urandom` would leave."""
    words: Ring = _core.random_ring(-(-count // 8), 64)
    return words.view(np.uint8)[:count]


def extend_receiver(ot: _core.OtReceiver, bits: Bytes, threads: int = 1) -> tuple[Bytes, Bytes]:
    """Return the message for packed choice bits, and the blocks they chose, uint8 [8 * len(bits) * 16]."""
    rounded = -(-len(bits) * 8 // OT_BLOCK) * OT_BLOCK
    choices = bits if rounded == len(bits) * 8 else np.concatenate([bits, np.zeros(rounded // 8 - len(bits), np.uint8)])
    blocks = np.empty(rounded * 16, np.uint8)
    correction = ot.extend(choices, blocks, threads)
    if choices is not bits:
        wipe(choices)
    return correction, blocks[: len(bits) * 8 * 16]


def extend_sender(ot: _core.OtSender, count: int, correction: Bytes, threads: int = 1) -> Bytes:
    """Return the blocks of the zero choices of ``count`` transfers, uint8 [count * 16]."""
    rounded = -(-count // OT_BLOCK) * OT_BLOCK
    blocks: Bytes = ot.extend(rounded, correction, threads).reshape(-1)
    return blocks[: count * 16]


def bound_key(key: Bytes, salt: bytes) -> Bytes:
    """Return the key of a vector's hashes, from the server's random bytes and what both sides call the vector: two
    batches have two keys, whichever side repeats itself.
    """
    return np.frombuffer(hashlib.sha256(b"deepreduce hash key" + key.tobytes() + salt).digest()[:HASH_KEY], np.uint8)


def vector_salts(batch_id: bytes) -> Iterator[bytes]:
    """Yield what both sides call the vectors of a batch, in the order of the schedule."""
    return (batch_id + number.to_bytes(4, "little") for number in count())


def split_key(chunk: Chunk, content: Bytes) -> tuple[Bytes | None, Bytes]:
    """Return the hash key at the head of the first chunk's garbled material, and the rest."""
    return (content[:HASH_KEY], content[HASH_KEY:]) if chunk.first == 0 else (None, content)
