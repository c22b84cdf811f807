"""The one-OT rescale (docs/reference/protocol.md, "rescale"): a shift by one product of sign bits. Both roles, by
chunks.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from .... import _core
from ....plan.execution.messages import Chunk, Vector
from ...zeroize import wiping
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


class RescaleClient:
    """Owner of the sign bit A as the element of the products."""

    def __init__(self, vector: Vector, threads: int = 1, mask: Ring | None = None) -> None:
        self.vector = vector
        self.mask: Ring = _core.random_ring(vector.padded, vector.ring_bits) if mask is None else mask  # r'
        self._threads = threads
        self._key: Bytes = np.empty(0, np.uint8)  # the hash key, when it has arrived
        self._shares: dict[int, tuple[Ring, Ring]] = {}  # a'' and A
        self._products: dict[int, Ring] = {}  # -q

    def has_chosen(self, chunk: Chunk) -> bool:
        """Return whether the garbled material may arrive."""
        return chunk.first in self._shares

    def choose(self, chunk: Chunk, shares: Ring, ot: _core.OtReceiver) -> Bytes:
        """No message: only the share is kept for the products."""
        v = self.vector
        self._shares[chunk.first] = _core.rescale_client_shares(v.ring_bits, v.shift, np.ascontiguousarray(shares))
        return np.empty(0, np.uint8)

    def receive_garbled(self, chunk: Chunk, content: Bytes, reverse: _core.OtSender) -> Bytes:
        """Answers the server's transfers with products of its random bit c and A."""
        key, rest = split_key(chunk, content)
        self._key = self._key if key is None else key
        blocks, negative = extend_sender(reverse, chunk.padded, rest, self._threads), self._shares[chunk.first][1]
        with wiping(blocks, negative):  # A is for the products alone
            message, self._products[chunk.first] = _core.product_send(
                self._key, group(chunk), self.vector.shift, reverse.delta, blocks, negative, self._threads
            )
        packed: Bytes = _core.pack(message, self.vector.shift)
        return packed

    def answer(self, chunk: Chunk, content: Bytes) -> Bytes:
        """Return its part of the shifted sum, masked."""
        v, (shares, _), products = self.vector, self._shares.pop(chunk.first), self._products.pop(chunk.first)
        with wiping(shares, products):
            answer = _core.rescale_answer(v.ring_bits, v.shift, shares, products, content, part(self.mask, chunk))
        packed: Bytes = _core.pack(answer, v.ring_bits)
        return packed

    def state(self) -> State:
        """Return what `answer` needs; A was for the products alone."""
        shares = {first: shares for first, (shares, _) in self._shares.items()}
        return {"mask": self.mask, **by_chunk("shares", shares), **by_chunk("products", self._products)}

    @classmethod
    def restored(cls, vector: Vector, state: State, threads: int) -> Self:
        """Return the material of a `state`."""
        self = cls(vector, threads, state["mask"])
        used = np.empty(0, np.uint64)
        self._shares = {first: (shares, used) for first, shares in of_chunks(state, "shares").items()}
        self._products = of_chunks(state, "products")
        return self


class RescaleServer:
    """Owner of the random bit c of the products."""

    def __init__(self, vector: Vector, threads: int = 1) -> None:
        self.vector = vector
        self._threads = threads
        self._key = random_bytes(16)
        self._bits: dict[int, Bytes] = {}  # c
        self._chosen: dict[int, Bytes] = {}
        self._products: dict[int, Ring] = {}  # g
        self._opened: dict[int, Bytes] = {}  # d

    def garble(self, chunk: Chunk, choices: Bytes | None, ot: _core.OtSender, reverse: _core.OtReceiver) -> Bytes:
        """Transfers that choose by c."""
        self._bits[chunk.first] = random_bytes(chunk.padded // 8)
        correction, self._chosen[chunk.first] = extend_receiver(reverse, self._bits[chunk.first], self._threads)
        return np.concatenate([self._key, correction]) if chunk.first == 0 else correction

    def receive_products(self, chunk: Chunk, content: Bytes) -> None:
        """Its share g of c * A."""
        message = unpack(content, chunk.padded, self.vector.shift)
        chosen, bits = self._chosen.pop(chunk.first), self._bits[chunk.first]
        with wiping(chosen):
            self._products[chunk.first] = _core.product_receive(
                self._key, group(chunk), self.vector.shift, chosen, bits, message, self._threads
            )

    def labels(self, chunk: Chunk, shares: Ring) -> Bytes:
        """d = B xor c."""
        v, bits = self.vector, self._bits.pop(chunk.first)
        with wiping(bits):
            opened: Bytes = _core.rescale_open(v.ring_bits, v.shift, np.ascontiguousarray(shares), bits)
        self._opened[chunk.first] = opened
        return opened

    def close(self, chunk: Chunk, shares: Ring, content: Bytes) -> Ring:
        """Return the shifted sum minus the client's mask."""
        v = self.vector
        answer = unpack(content, chunk.padded, v.ring_bits)
        products, opened = self._products.pop(chunk.first), self._opened.pop(chunk.first)
        with wiping(products):
            result: Ring = _core.rescale_close(
                v.ring_bits, v.shift, np.ascontiguousarray(shares), products, opened, answer
            )
        return result

    def state(self) -> State:
        """Return what `labels` and `close` need."""
        return {**by_chunk("bits", self._bits), **by_chunk("products", self._products)}

    @classmethod
    def restored(cls, vector: Vector, state: State, threads: int) -> Self:
        """Return the material of a `state`."""
        self = cls(vector, threads)
        self._bits, self._products = of_chunks(state, "bits"), of_chunks(state, "products")
        return self
