"""DELPHI's circuit (docs/reference/protocol.md, "delphi"): the whole step is garbled. ReLU and rescale, both roles, by
chunks.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from .... import _core
from ....plan.execution.messages import Chunk, Vector
from ...zeroize import wipe, wiping
from .vector import (
    Bytes,
    Ring,
    State,
    bound_key,
    by_chunk,
    extend_receiver,
    extend_sender,
    group,
    of_chunks,
    part,
    random_bytes,
    split_key,
)


class GarbledClient:
    """The evaluator; its inputs are its share and its next mask."""

    def __init__(self, vector: Vector, threads: int = 1, mask: Ring | None = None, salt: bytes = b"") -> None:
        self.vector = vector
        self._salt = salt
        self.mask: Ring = _core.random_ring(vector.padded, vector.ring_bits) if mask is None else mask  # r'
        self._threads = threads
        self._key: Bytes = np.empty(0, np.uint8)  # the hash key, when it has arrived
        self._labels: dict[int, Bytes] = {}
        self._tables: dict[int, Bytes] = {}

    def has_chosen(self, chunk: Chunk) -> bool:
        """Return whether the garbled material may arrive."""
        return chunk.first in self._labels

    def choose(self, chunk: Chunk, shares: Ring, ot: _core.OtReceiver) -> Bytes:
        """Choices: the bits of the share, then those of the mask."""
        bits = self.vector.ring_bits
        words = [_core.bit_slice(np.ascontiguousarray(x), bits) for x in (shares, part(self.mask, chunk))]
        packed = np.concatenate(words, axis=1).reshape(-1).view(np.uint8)
        with wiping(packed, *words):
            correction, self._labels[chunk.first] = extend_receiver(ot, packed, self._threads)
        return correction

    def receive_garbled(self, chunk: Chunk, content: Bytes, reverse: _core.OtSender) -> None:
        """Keeps the tables."""
        key, self._tables[chunk.first] = split_key(chunk, content)
        self._key = self._key if key is None else bound_key(key, self._salt)

    def answer(self, number: int, chunk: Chunk, content: Bytes) -> Bytes:
        """Return the colors of the output labels, which only the server can decode."""
        v = self.vector
        labels, tables = self._labels.pop(chunk.first), self._tables.pop(chunk.first)
        with wiping(labels):
            colors = _core.circuit_evaluate(
                v.function, v.ring_bits, v.shift, self._key, group(chunk), labels, content, tables, self._threads
            )
        packed: Bytes = colors.reshape(-1).view(np.uint8)
        return packed

    def state(self) -> State:
        """Return what `answer` needs."""
        labels, tables = by_chunk("labels", self._labels), by_chunk("tables", self._tables)
        return {"mask": self.mask, "key": self._key, **labels, **tables}

    @classmethod
    def restored(cls, vector: Vector, state: State, threads: int) -> Self:
        """Return the material of a `state`."""
        self = cls(vector, threads, state["mask"])
        self._key = state["key"]
        self._labels, self._tables = of_chunks(state, "labels"), of_chunks(state, "tables")
        return self


class GarbledServer:
    """The garbler; its input is its share."""

    def __init__(self, vector: Vector, threads: int = 1, salt: bytes = b"") -> None:
        self.vector = vector
        self._threads = threads
        self._sent_key, self._seed = random_bytes(16), random_bytes(24)  # a key and a nonce
        self._key = bound_key(self._sent_key, salt)
        self._delta: _core.Delta | None = None
        self._colors: dict[int, NDArray[np.uint16]] = {}
        self._labeled: set[int] = set()

    def garble(self, chunk: Chunk, choices: Bytes | None, ot: _core.OtSender, reverse: _core.OtReceiver) -> Bytes:
        """Tables."""
        assert choices is not None
        v, self._delta = self.vector, ot.delta
        zero = extend_sender(ot, chunk.padded * 2 * v.ring_bits, choices, self._threads)
        head = len(self._sent_key) if chunk.first == 0 else 0
        content = np.empty(chunk.garbled, np.uint8)
        content[:head] = self._sent_key[:head]
        with wiping(zero):
            self._colors[chunk.first] = _core.circuit_garble(
                v.function,
                v.ring_bits,
                v.shift,
                self._delta,
                self._key,
                self._seed,
                group(chunk),
                zero,
                content[head:],
                self._threads,
            )
        return content

    def receive_products(self, chunk: Chunk, content: Bytes) -> None:
        """There are none."""
        raise AssertionError("the garbled circuit has no products")

    def send(self, number: int, chunk: Chunk, shares: Ring) -> Bytes:
        """Labels of its share."""
        if chunk.first in self._labeled:  # labels of two inputs would reveal Delta
            raise AssertionError("a garbled circuit is used once")
        assert self._delta is not None
        self._labeled.add(chunk.first)
        content, b = np.empty(chunk.rounds[number].down, np.uint8), np.ascontiguousarray(shares)
        _core.circuit_encode(self.vector.ring_bits, self._delta, self._seed, group(chunk), b, content, self._threads)
        return content

    def receive(self, number: int, chunk: Chunk, shares: Ring, content: Bytes) -> Ring | None:
        """Decodes the colors: the result minus the client's mask."""
        colors, own = content.view(np.uint16).reshape(-1, self.vector.ring_bits), self._colors.pop(chunk.first)
        own ^= colors
        with wiping(own):
            result: Ring = _core.bit_unslice(own, self.vector.ring_bits)
        return result

    def state(self) -> State:
        """Return what `send` and `receive` need."""
        delta = {} if self._delta is None else {"delta": self._delta.to_bytes()}  # there is none without elements
        return {"seed": self._seed, **delta, **by_chunk("colors", self._colors)}

    @classmethod
    def restored(cls, vector: Vector, state: State, threads: int) -> Self:
        """Return the material of a `state`."""
        self = cls(vector, threads)
        self._seed = state["seed"]
        if "delta" in state:
            self._delta = _core.Delta.from_bytes(state["delta"])
            wipe(state["delta"])
        self._colors = of_chunks(state, "colors")
        return self
