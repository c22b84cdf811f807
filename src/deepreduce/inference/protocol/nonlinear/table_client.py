"""Client's side of comparisons by tables of precomputed transfers (docs/reference/protocol.md, "ot")."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np

from .... import _core
from ....plan.execution.messages import Chunk, Vector
from ...zeroize import wipe, wiping
from .bits import Rows, coefficients, digits_of, every_product, outcomes
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
    split_key,
)


class TableClient(Tables, ABC):
    """Maker of the tables; owner of the share in the products. `ReluClient` and `ShiftClient` are whole."""

    _KEPT = frozenset({"shares", "factors", "selecting", "pads", "nodes", "triples", "select", "products"})

    def __init__(self, vector: Vector, threads: int = 1, mask: Ring | None = None, salt: bytes = b"") -> None:
        super().__init__(vector, threads)
        self._salt = salt
        self.mask: Ring = _core.random_ring(vector.padded, vector.ring_bits) if mask is None else mask  # r'
        self._key: Bytes = np.empty(0, np.uint8)

    def has_chosen(self, chunk: Chunk) -> bool:
        """Return whether the server's transfers may arrive."""
        return chunk.first in self._parts

    def choose(self, chunk: Chunk, shares: Ring, ot: _core.OtReceiver) -> Bytes:
        """Choices: the coefficients of products, random factors, and what selects."""
        c, row = self._compared, chunk.padded // 8
        own = random_bytes(2 * len(c.widths) * row).reshape(2, len(c.widths), row)  # its shares of the digits' outcomes
        own[1, ~np.array(c.equals, bool)] = 0
        greater, equal = own
        factors = [f for g in c.groups for f in coefficients(g, greater[digits_of(g)], equal[digits_of(g)])]
        random = list(random_bytes(2 * c.ands * row).reshape(2 * c.ands, row))
        selecting = self._selecting(shares, row)
        rows = np.stack([*factors, *random, *selecting])
        wipe(*factors, *random, *selecting)
        ands = c.transfers + 2 * c.ands
        correction, blocks = extend_receiver(ot, rows[: ands + self.vector.selectors].reshape(-1), self._threads)
        self._parts[chunk.first] = {
            "shares": narrow(shares.copy(), self.vector.ring_bits),  # the caller wipes its own
            "greater": greater,
            "equal": equal,
            "factors": rows[: c.transfers],
            "random": rows[c.transfers : ands],
            "selecting": rows[ands:],
            "blocks": blocks,
        }
        return correction

    def receive_garbled(self, chunk: Chunk, content: Bytes, reverse: _core.OtSender) -> Bytes | None:
        """Makes the pads of its tables; answers with products of the server's hidden bit and its share."""
        v, c, n, at = self.vector, self._compared, chunk.padded, group(chunk)
        key, rest = split_key(chunk, content)
        self._key = self._key if key is None else bound_key(key, self._salt)
        kept = self._parts[chunk.first]
        blocks, greater, equal, random = (kept.pop(name) for name in ("blocks", "greater", "equal", "random"))
        q = extend_sender(reverse, (c.bits + v.products) * n, rest, self._threads)
        with wiping(blocks, greater, equal, random, q):
            digits, selected = c.bits * n * LABEL, (c.transfers + 2 * c.ands) * n * LABEL
            kept["pads"] = _core.table_pads_send(
                self._key, REVERSE_ROW, at, self._digits, reverse.delta, q[:digits], greater, equal, n, self._threads
            )
            pads = _core.bit_pads_receive(self._key, 0, at, blocks[:selected], n, self._threads)
            kept["nodes"] = outcomes(c, greater, equal)
            for index, factor, is_equal in every_product(c):
                kept["nodes"][index, int(is_equal)] ^= pads[factor, int(is_equal)]
            x, y = random[0::2], random[1::2]
            kept["triples"] = np.stack([x, y, (x & y) ^ pads[c.transfers :: 2, 0] ^ pads[c.transfers + 1 :: 2, 0]])
            wipe(pads)
            products, messages = np.empty((v.products, n), np.uint64), []
            with wiping(values := self._multiplied(kept, chunk, blocks[selected:])):
                for number, value in enumerate(values):
                    part_of_q = q[digits + number * n * LABEL : digits + (number + 1) * n * LABEL]
                    row = self._product_row(chunk, number)
                    message, share = _core.product_send(
                        self._key, row, v.ring_bits, reverse.delta, part_of_q, value, self._threads
                    )
                    messages.append(message)
                    with wiping(share):
                        products[number] = share
            kept["products"] = narrow(self._completed(products, kept), v.ring_bits)
        packed: Bytes = _core.pack(np.concatenate(messages), v.ring_bits)
        return packed

    def answer(self, number: int, chunk: Chunk, content: Bytes) -> Bytes:
        """Return the client's message of a round; the last uses the material up."""
        kept, row = self._once(number, chunk), chunk.padded // 8
        if number == self.vector.rounds - 1:
            return self._open(chunk, content, self._parts.pop(chunk.first))
        if number == 0:
            tables = kept.pop("pads")
            shares = kept["shares"].astype(np.uint64)
            numbers = self._numbers(shares)
            with wiping(shares, numbers):
                _core.table_answer(self._digits, numbers, content, tables)
            sent = [tables]
        else:
            sent = [self._exchanged(number - 1, content.reshape(-1, row), kept).reshape(-1)]
        if number == self.vector.rounds - 2:
            sent.append(self._announce(kept, row).reshape(-1))
        return np.concatenate(sent)

    def _exchanged(self, layer: int, content: Rows, kept: Material) -> Rows:
        """Takes the server's bits into its shares; returns what it opens of the layer's products."""
        c, nodes = self._compared, kept["nodes"]
        if layer == 0:
            for row, (index, factor, equal) in zip(content, every_product(c), strict=False):
                nodes[index, int(equal)] ^= row & kept["factors"][factor]
            content = content[c.products :]
        if layer >= len(c.layers):
            return content[:0]
        opened, products = [], []
        pairs = content.reshape(-1, 2, content.shape[-1])
        operands = self._operands(layer, nodes)
        for theirs, (left, right), (x, y, xy) in zip(pairs, operands, self._triples(layer, kept), strict=True):
            e, k = theirs[0] ^ left ^ x, theirs[1] ^ right ^ y
            opened += [e, k]
            products.append((e & k) ^ (e & y) ^ (k & x) ^ xy)
        kept["nodes"] = self._merged(layer, nodes, iter(products))
        return np.stack(opened)

    def _numbers(self, shares: Ring) -> Ring:
        """Return the numbers to compare: the carries of a + b are [b > complement of a]."""
        found = np.invert(shares)
        found &= np.uint64(2**self._compared.bits - 1)
        return found

    @abstractmethod
    def _selecting(self, shares: Ring, row: int) -> list[Rows]:
        """Return random bits that will move its shares of the outcome, and what else selects."""

    @abstractmethod
    def _multiplied(self, kept: Material, chunk: Chunk, blocks: Bytes) -> Ring:
        """Return the numbers [products, elements] that the server's bits multiply; ``blocks``: of what selects."""

    def _completed(self, products: Ring, kept: Material) -> Ring:
        """Return the shares of the products, to be kept."""
        products &= self._mask
        return products

    @abstractmethod
    def _announce(self, kept: Material, row: int) -> Rows:
        """Return its shares of the outcome, moved by what it chose offline."""

    @abstractmethod
    def _open(self, chunk: Chunk, content: Bytes, kept: Material) -> Bytes:
        """Return its last message, which uses the material up."""

    def state(self) -> State:
        """Return what `answer` needs."""
        return {"mask": self.mask, **super().state()}

    @classmethod
    def restored(cls, vector: Vector, state: State, threads: int) -> Self:
        """Return the material of a `state`."""
        self = cls(vector, threads, state["mask"])
        self._restore(state)
        return self
