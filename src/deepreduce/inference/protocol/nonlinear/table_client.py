"""Client's side of ReLU and Rescale by tables of precomputed transfers (docs/reference/protocol.md, "ot")."""

from __future__ import annotations

from typing import Self

import numpy as np

from .... import _core
from ....plan.execution.messages import Chunk, Vector
from ...zeroize import wipe, wiping
from .bits import Rows, coefficients, digits_of, every_product, outcomes
from .tables import LABEL, REVERSE_ROW, Material, Tables, as_words
from .vector import (
    Bytes,
    Ring,
    State,
    bound_key,
    extend_receiver,
    extend_sender,
    group,
    narrow,
    part,
    random_bytes,
    split_key,
    unpack,
    wide,
)


class TableClient(Tables):
    """Maker of the tables; owner of the share in the products."""

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
        """Choices: the coefficients of products, random factors, and of a ReLU what selects an element."""
        c, row = self._compared, chunk.padded // 8
        own = random_bytes(2 * len(c.widths) * row).reshape(2, len(c.widths), row)  # its shares of the digits' outcomes
        own[1, ~np.array(c.equals, bool)] = 0
        greater, equal = own
        factors = [f for g in c.groups for f in coefficients(g, greater[digits_of(g)], equal[digits_of(g)])]
        random = list(random_bytes(2 * c.ands * row).reshape(2 * c.ands, row))
        selecting = list(random_bytes((1 + (self.vector.shift > 0)) * row).reshape(-1, row))
        if self._relu:
            selecting.append(self._negative(shares))
        if not c.bits:  # its share of the outcome is the sign of its share
            selecting[0] = selecting[-1]
        rows = np.stack([*factors, *random, *selecting])
        wipe(*factors, *random, *selecting)
        chosen = rows if self._relu else rows[: -len(selecting)]  # of a shift these bits are opened, and select nothing
        correction, blocks = extend_receiver(ot, chosen.reshape(-1), self._threads)
        ands = c.transfers + 2 * c.ands
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
            if self._relu:
                select = _core.select_pads_receive(
                    self._key, c.transfers + 2 * c.ands, at, v.selectors, blocks[selected:], n, self._threads
                )
                kept["select"] = narrow(select, v.ring_bits)
                with wiping(shares := kept["shares"].astype(np.uint64)):
                    values = _core.shift_shares(shares, v.ring_bits, v.shift, v.width)[None]
                own = np.zeros((1, 1), np.uint64)
            else:  # its bits, as they weigh, and the products that the server's bits make of them
                own = as_words(kept["selecting"])
                own *= np.array(self._weights)[:, None]
                values = own * np.uint64(2**64 - 2)
                values &= self._mask
            products, messages = np.empty((v.products, n), np.uint64), []
            with wiping(values, own):
                for number, value in enumerate(values):
                    part_of_q = q[digits + number * n * LABEL : digits + (number + 1) * n * LABEL]
                    row = self._product_row(chunk, number)
                    message, share = _core.product_send(
                        self._key, row, v.ring_bits, reverse.delta, part_of_q, value, self._threads
                    )
                    messages.append(message)
                    with wiping(share):
                        products[number] = share
                products += own
                products &= self._mask
            kept["products"] = narrow(products, v.ring_bits)
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
            numbers = self._numbers(shares, client=True)
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

    def _announce(self, kept: Material, row: int) -> Rows:
        """Its shares of the outcome, moved by what it chose offline."""
        top, carry = self._outcome(kept["nodes"], row)
        selecting = kept["selecting"]
        kept["sign"] = top ^ selecting[-1] if self._relu else top.copy()
        announced = np.stack([kept["sign"] ^ selecting[0], *([carry ^ selecting[1]] if self.vector.shift else [])])
        if not self._relu:
            kept["announced"] = announced
        return announced

    def _open(self, chunk: Chunk, content: Bytes, kept: Material) -> Bytes:
        """Opens one element each and returns it, masked."""
        v, row = self.vector, chunk.padded // 8
        if not self._relu:
            return self._shifted(chunk, content.reshape(2, row), kept)
        if not self._compared.bits:
            self._announce(kept, row)
        shares, select = wide(kept["shares"]), wide(kept["select"])
        products = wide(kept["products"]).reshape(-1)
        with wiping(shares, select, products, *kept.values()):
            opened = _core.elements_open(
                v.ring_bits,
                v.shift,
                v.width,
                shares,
                kept["sign"],
                content[:row],
                kept["selecting"],
                products,
                part(self.mask, chunk),
                select,
                unpack(content[row:], chunk.padded << v.selectors, v.ring_bits),
            )
        packed: Bytes = _core.pack(opened, v.ring_bits)
        return packed

    def _shifted(self, chunk: Chunk, masked: Rows, kept: Material) -> Bytes:
        """Return its shifted share, with its shares of what the carries weigh, masked."""
        v = self.vector
        opened = as_words(masked ^ kept["announced"])  # known to both
        hidden, high = kept["products"].astype(np.uint64), kept["shares"].astype(np.uint64)
        with wiping(hidden, *kept.values()):
            high += self._half
            high = self._sum_up(high, hidden, opened)
            high -= (self._half >> np.uint64(v.shift)) + part(self.mask, chunk)
            high &= self._mask
        packed: Bytes = _core.pack(high, v.ring_bits)
        return packed

    def state(self) -> State:
        """Return what `answer` needs."""
        return {"mask": self.mask, **super().state()}

    @classmethod
    def restored(cls, vector: Vector, state: State, threads: int) -> Self:
        """Return the material of a `state`."""
        self = cls(vector, threads, state["mask"])
        self._restore(state)
        return self
