"""Server's side of comparisons by tables of precomputed transfers (docs/reference/protocol.md, "ot")."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np

from .... import _core
from ....plan.execution.messages import Chunk, Vector
from ...zeroize import wipe, wiping
from .bits import Rows, digits_of, every_product, monomials, outcomes
from .tables import LABEL, REVERSE_ROW, Material, Tables
from .vector import (
    Bytes,
    Ring,
    State,
    bound_key,
    extend_receiver,
    extend_sender,
    group,
    narrow,
    random_bytes,
    unpack,
)


class TableServer(Tables, ABC):
    """Reader of the tables; owner of the hidden bits in the products. `ReluServer` and `ShiftServer` are whole."""

    _KEPT = frozenset({"choices", "read", "masks", "nodes", "triples", "lambda", "select", "u"})

    def __init__(self, vector: Vector, threads: int = 1, salt: bytes = b"") -> None:
        super().__init__(vector, threads)
        self._sent_key = random_bytes(16)
        self._key = bound_key(self._sent_key, salt)

    def garble(self, chunk: Chunk, choices: Bytes | None, ot: _core.OtSender, reverse: _core.OtReceiver) -> Bytes:
        """Random choices of table entries, and random bits that hide the outcome."""
        assert choices is not None
        v, c, n, at = self.vector, self._compared, chunk.padded, group(chunk)
        bits, row = (c.bits + v.products) * n, n // 8
        rows = random_bytes(bits // 8).reshape(-1, row)
        correction, blocks = extend_receiver(reverse, rows.reshape(-1), self._threads)
        chosen = c.transfers + 2 * c.ands
        q = extend_sender(ot, (chosen + v.selectors) * n, choices, self._threads)
        digits = c.bits * n * LABEL
        kept: Material = {"choices": rows[: c.bits]}
        with wiping(q, blocks[:digits]):
            kept["read"] = _core.table_pads_receive(
                self._key, REVERSE_ROW, at, self._digits, blocks[:digits], rows[: c.bits], n, self._threads
            )
            zero, one = _core.bit_pads_send(self._key, 0, at, ot.delta, q[: chosen * n * LABEL], n, self._threads)
            self._keep_pads(kept, chunk, ot.delta, q[chosen * n * LABEL :])
        with wiping(zero, one):
            one ^= zero
            kept["nodes"] = np.zeros((len(c.groups), 2, row), np.uint8)  # its own outcomes come online
            for index, factor, equal in every_product(c):
                kept["nodes"][index, int(equal)] ^= zero[factor, int(equal)]
            masks = [one[factor, int(equal)] for _, factor, equal in every_product(c)]
            kept["masks"] = np.stack(masks) if masks else np.empty((0, row), np.uint8)
            y, x = one[c.transfers :: 2, 0], one[c.transfers + 1 :: 2, 0]
            kept["triples"] = np.stack([x, y, (x & y) ^ zero[c.transfers :: 2, 0] ^ zero[c.transfers + 1 :: 2, 0]])
        kept["lambda"], kept["transferred"] = rows[c.bits :], blocks[digits:]
        self._parts[chunk.first] = kept
        return np.concatenate([self._sent_key, correction]) if chunk.first == 0 else correction

    def receive_products(self, chunk: Chunk, content: Bytes) -> None:
        """Its shares u of lambda times the client's numbers."""
        v, n, kept = self.vector, chunk.padded, self._parts[chunk.first]
        messages = unpack(content, v.products * n, v.ring_bits).reshape(v.products, n)
        transferred = kept.pop("transferred")
        u = np.empty((v.products, n), np.uint64)
        with wiping(transferred):
            for number, message in enumerate(messages):
                found = _core.product_receive(
                    self._key,
                    self._product_row(chunk, number),
                    v.ring_bits,
                    transferred[number * n * LABEL : (number + 1) * n * LABEL],
                    kept["lambda"][number],
                    message,
                    self._threads,
                )
                with wiping(found):
                    u[number] = found
        kept["u"] = narrow(self._completed(u, kept), v.ring_bits)

    def send(self, number: int, chunk: Chunk, shares: Ring) -> Bytes:
        """Return the server's message of a round, for the chunk's shares [padded]."""
        kept = self._once(number, chunk)
        if number == self.vector.rounds - 1:
            return self._last(chunk, shares, kept)
        if number == 0:
            with wiping(numbers := shares & np.uint64(2**self._compared.bits - 1)):
                opened: Bytes = _core.table_open(self._digits, numbers, kept["choices"])
            return opened
        return self._exchange_bits(number - 1, kept).reshape(-1)

    def receive(self, number: int, chunk: Chunk, shares: Ring, content: Bytes) -> Ring | None:
        """Takes the client's message of a round; returns the server's share of the result [padded] after the last."""
        v, c, kept, row = self.vector, self._compared, self._parts[chunk.first], chunk.padded // 8
        if number == v.rounds - 1:
            answer = unpack(content, chunk.padded, v.ring_bits)
            closed: Ring = answer + self._own(chunk, shares, kept)
            wipe(*self._parts.pop(chunk.first).values())
            closed &= self._mask
            return closed
        if number == 0:
            size = self._digits.table_bytes(chunk.padded)
            choices, read = kept.pop("choices"), kept.pop("read")
            with wiping(choices, read):
                greater, equal = _core.table_read(self._digits, content[:size], choices, read, chunk.padded)
            kept["greater"], kept["equal"], content = greater, equal, content[size:]
            kept["nodes"] ^= outcomes(c, greater, equal)
        elif number - 1 < len(c.layers):
            content = self._take_opened(number - 1, content.reshape(-1, row), kept).reshape(-1)
        if number == v.rounds - 2:
            moved = content.reshape(-1, row)
            kept["moved_sign"], kept["moved_carry"] = (
                moved[0].copy(),
                moved[-1].copy() if v.shift else moved[:0].reshape(-1),
            )
        return None

    def _exchange_bits(self, layer: int, kept: Material) -> Rows:
        c, sent = self._compared, list[Rows]()
        if layer == 0:
            greater, equal = kept["greater"], kept["equal"]
            for g in c.groups:
                sent += [found for _, _, found in monomials(g, greater[digits_of(g)], equal[digits_of(g)])]
            sent = list(np.stack(sent) ^ kept["masks"]) if sent else []
        if layer < len(c.layers):
            operands = self._operands(layer, kept["nodes"])
            for (left, right), (x, y, _) in zip(operands, self._triples(layer, kept), strict=True):
                sent += [left ^ x, right ^ y]
        return np.stack(sent)

    def _take_opened(self, layer: int, content: Rows, kept: Material) -> Rows:
        """Takes what the client opened into its shares of the layer's products; returns the rows behind."""
        products = []
        opened = zip(content[0::2], content[1::2], self._triples(layer, kept), strict=False)
        for e, k, (x, y, xy) in opened:
            products.append((e & y) ^ (k & x) ^ xy)
        kept["nodes"] = self._merged(layer, kept["nodes"], iter(products))
        return content[2 * len(products) :]

    def _keep_pads(self, kept: Material, chunk: Chunk, delta: _core.Delta, q: Bytes) -> None:
        """Keep the pads of the transfers that select."""

    def _completed(self, u: Ring, kept: Material) -> Ring:
        """Return the shares of the products, to be kept."""
        return u

    @abstractmethod
    def _last(self, chunk: Chunk, shares: Ring, kept: Material) -> Bytes:
        """Return its last message."""

    @abstractmethod
    def _own(self, chunk: Chunk, shares: Ring, kept: Material) -> Ring:
        """Return what it adds to the client's answer for its share of the result."""

    @classmethod
    def restored(cls, vector: Vector, state: State, threads: int) -> Self:
        """Return the material of a `state`: what `send` and `receive` need, nothing of the extension, whose part is
        done.
        """
        self = cls(vector, threads)
        self._restore(state)
        return self
