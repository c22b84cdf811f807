"""The fused ReLU (docs/reference/protocol.md, "fused"): garble the sign, let its label key the rest. Both roles, by
chunks.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from .... import _core
from ....plan.execution.messages import AND_GATE, LABEL, Chunk, Vector
from ...zeroize import wipe, wiping
from .vector import (
    Bytes,
    Ring,
    State,
    by_chunk,
    extend_receiver,
    extend_sender,
    group,
    of_chunks,
    part,
    random_bytes,
    split_key,
    unpack,
)


class FusedClient:
    """Evaluator of the sign; owner of the element in the reverse products."""

    def __init__(self, vector: Vector, threads: int = 1, mask: Ring | None = None) -> None:
        self.vector = vector
        self.mask: Ring = _core.random_ring(vector.padded, vector.ring_bits) if mask is None else mask  # r'
        self._threads = threads
        self._key: Bytes = np.empty(0, np.uint8)  # the hash key, when it has arrived
        self._shares: dict[int, Ring] = {}  # a'' by first element
        self._labels: dict[int, Bytes] = {}
        self._tables: dict[int, Bytes] = {}
        self._products: dict[int, Ring] = {}  # w

    def has_chosen(self, chunk: Chunk) -> bool:
        """Return whether the garbled material may arrive."""
        return chunk.first in self._labels

    def choose(self, chunk: Chunk, shares: Ring, ot: _core.OtReceiver) -> Bytes:
        """Choices: one bit of the rounded-up, shifted share each."""
        v = self.vector
        shifted = _core.shift_shares(shares, v.ring_bits, v.shift, v.width, True)
        self._shares[chunk.first] = shifted
        bits = _core.bit_slice(shifted, v.width).reshape(-1).view(np.uint8)
        with wiping(bits):
            correction, self._labels[chunk.first] = extend_receiver(ot, bits, self._threads)
        return correction

    def receive_garbled(self, chunk: Chunk, content: Bytes, reverse: _core.OtSender) -> Bytes:
        """Keeps the tables; answers the server's transfers with products of its hidden bit and a''."""
        key, rest = split_key(chunk, content)
        self._key = self._key if key is None else key
        tables = chunk.padded * self.vector.gates * AND_GATE
        self._tables[chunk.first] = rest[:tables]
        blocks = extend_sender(reverse, chunk.padded, rest[tables:], self._threads)
        with wiping(blocks):
            message, self._products[chunk.first] = _core.product_send(
                self._key,
                group(chunk),
                self.vector.ring_bits,
                reverse.delta,
                blocks,
                self._shares[chunk.first],
                self._threads,
            )
        packed: Bytes = _core.pack(message, self.vector.ring_bits)
        return packed

    def answer(self, chunk: Chunk, content: Bytes) -> Bytes:
        """Opens one element of each ReLU and returns it, masked."""
        v, first = self.vector, chunk.first
        end = chunk.padded * v.width * LABEL
        labels, shares, products = self._labels.pop(first), self._shares.pop(first), self._products.pop(first)
        with wiping(labels, shares, products):
            opened = _core.sign_evaluate(
                self._key,
                group(chunk),
                v.ring_bits,
                v.width,
                labels,
                content[:end],
                self._tables.pop(first),
                unpack(content[end:], 4 * chunk.padded, v.ring_bits),
                shares,
                products,
                part(self.mask, chunk),
                self._threads,
            )
        packed: Bytes = _core.pack(opened, v.ring_bits)
        return packed

    def state(self) -> State:
        """Return what `answer` needs."""
        return {
            "mask": self.mask,
            "key": self._key,
            **by_chunk("shares", self._shares),
            **by_chunk("labels", self._labels),
            **by_chunk("tables", self._tables),
            **by_chunk("products", self._products),
        }

    @classmethod
    def restored(cls, vector: Vector, state: State, threads: int) -> Self:
        """Return the material of a `state`."""
        self = cls(vector, threads, state["mask"])
        self._key = state["key"]
        self._shares, self._labels = of_chunks(state, "shares"), of_chunks(state, "labels")
        self._tables, self._products = of_chunks(state, "tables"), of_chunks(state, "products")
        return self


class FusedServer:
    """Garbler of the sign; owner of the bit in the reverse products."""

    def __init__(self, vector: Vector, threads: int = 1) -> None:
        self.vector = vector
        self._threads = threads
        self._key, self._seed = random_bytes(16), random_bytes(16)
        self._rho: Ring = _core.random_ring(vector.padded, vector.ring_bits)
        self._delta: _core.Delta | None = None
        self._pads: dict[int, Ring] = {}
        self._colors: dict[
            int, tuple[NDArray[np.uint16], NDArray[np.uint16]]
        ] = {}  # lambda, of the client's sign label
        self._chosen: dict[int, Bytes] = {}  # blocks of the reverse transfers
        self._products: dict[int, Ring] = {}  # u

    def garble(self, chunk: Chunk, choices: Bytes | None, ot: _core.OtSender, reverse: _core.OtReceiver) -> Bytes:
        """Tables, and transfers that choose by lambda, the color that hides the sign."""
        assert choices is not None
        v, self._delta = self.vector, ot.delta
        zero = extend_sender(ot, chunk.padded * v.width, choices, self._threads)
        head = len(self._key) if chunk.first == 0 else 0
        content = np.empty(chunk.garbled, np.uint8)
        content[:head] = self._key[:head]
        tables = content[head : head + chunk.padded * v.gates * AND_GATE]
        with wiping(zero):
            pads, lam, color = _core.sign_garble(
                self._delta, self._key, self._seed, group(chunk), v.width, zero, tables, self._threads
            )
        self._pads[chunk.first], self._colors[chunk.first] = pads, (lam, color)
        correction, self._chosen[chunk.first] = extend_receiver(reverse, lam.view(np.uint8), self._threads)
        content[head + len(tables) :] = correction
        return content

    def receive_products(self, chunk: Chunk, content: Bytes) -> None:
        """Its share u of lambda * a''."""
        v = self.vector
        message = unpack(content, chunk.padded, v.ring_bits)
        choices, chosen = self._colors[chunk.first][0].view(np.uint8), self._chosen.pop(chunk.first)
        with wiping(chosen):
            self._products[chunk.first] = _core.product_receive(
                self._key, group(chunk), v.ring_bits, chosen, choices, message, self._threads
            )

    def labels(self, chunk: Chunk, shares: Ring) -> Bytes:
        """Labels of its rounded-down, shifted share, and four masked elements of each ReLU."""
        v = self.vector
        assert self._delta is not None
        shifted = _core.shift_shares(shares, v.ring_bits, v.shift, v.width, False)
        content = np.empty(chunk.labels, np.uint8)
        labels = chunk.padded * v.width * LABEL
        (lam, color), pads = self._colors.pop(chunk.first), self._pads.pop(chunk.first)
        products = self._products.pop(chunk.first)
        with wiping(shifted, lam, color, pads, products):
            elements = _core.sign_respond(
                self._delta,
                self._seed,
                group(chunk),
                v.ring_bits,
                v.width,
                shifted,
                pads,
                lam,
                color,
                products,
                part(self._rho, chunk),
                content[:labels],
                self._threads,
            )
        _core.pack_into(elements, v.ring_bits, content[labels:])
        return content

    def close(self, chunk: Chunk, shares: Ring, content: Bytes) -> Ring:
        """Return the opened element with rho taken off: relu minus the client's mask."""
        opened = unpack(content, chunk.padded, self.vector.ring_bits)
        closed: Ring = (opened + part(self._rho, chunk)) & np.uint64(2**self.vector.ring_bits - 1)
        return closed

    def state(self) -> State:
        """Return what `labels` and `close` need; nothing of the extension, whose part is done."""
        delta = {} if self._delta is None else {"delta": self._delta.to_bytes()}  # there is none without elements
        return {
            "seed": self._seed,
            "rho": self._rho,
            **delta,
            **by_chunk("pads", self._pads),
            **by_chunk("lambda", {first: lam for first, (lam, _) in self._colors.items()}),
            **by_chunk("color", {first: color for first, (_, color) in self._colors.items()}),
            **by_chunk("products", self._products),
        }

    @classmethod
    def restored(cls, vector: Vector, state: State, threads: int) -> Self:
        """Return the material of a `state`."""
        self = cls(vector, threads)
        self._seed, self._rho = state["seed"], state["rho"]
        if "delta" in state:
            self._delta = _core.Delta.from_bytes(state["delta"])
            wipe(state["delta"])
        colors = of_chunks(state, "color")
        self._colors = {first: (lam, colors[first]) for first, lam in of_chunks(state, "lambda").items()}
        self._pads, self._products = of_chunks(state, "pads"), of_chunks(state, "products")
        return self
