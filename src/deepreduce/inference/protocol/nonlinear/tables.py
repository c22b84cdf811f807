"""ReLU and Rescale by tables of precomputed transfers (docs/reference/protocol.md, "ot"). Both roles, by chunks.

The client's number is known offline, the server's online. Online come tables of digits, then products of shared bits,
then elements of which the client can open one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .... import _core
from ....plan.execution.comparison import Comparison, DigitGroup
from ....plan.execution.messages import Chunk, Vector
from ...zeroize import wipe, wiping
from .bits import Rows, above, all_of, coefficients, monomials
from .vector import (
    Bytes,
    Ring,
    State,
    bound_key,
    extend_receiver,
    extend_sender,
    group,
    part,
    random_bytes,
    split_key,
    unpack,
)

LABEL = 16
REVERSE_ROW = 1 << 20  # rows of the server's transfers are numbered from here on, the client's from 0 (hash keys)

Material = dict[str, NDArray[Any]]  # of a chunk


class _Tables:
    """Base of both roles: shapes, and material by chunk."""

    _KEPT: frozenset[str]  # fields of a chunk's material that the online phase needs

    def __init__(self, vector: Vector, threads: int) -> None:
        self.vector = vector
        self._threads = threads
        self._compared = vector.comparison
        self._digits = _core.Digits(self._compared.widths, self._compared.equals)
        self._parts: dict[int, Material] = {}
        self._sent: set[tuple[int, int]] = set()  # (round, first element) of what was answered with this material

    @property
    def _relu(self) -> bool:
        return self.vector.function == "relu"

    def _numbers(self, shares: Ring, *, client: bool) -> Ring:
        """Return the numbers to compare: the carries of a + b are [b > complement of a]."""
        found = shares.copy()
        if client:
            if not self._relu:
                found += np.uint64(2 ** (self.vector.ring_bits - 1))
            np.invert(found, out=found)
        found &= np.uint64(2**self._compared.bits - 1)
        return found

    def _negative(self, shares: Ring) -> Rows:
        """Return a row of the shares' top bits within the window."""
        top = np.uint64(self.vector.shift + self.vector.width - 1)
        return np.packbits((shares >> top).astype(np.uint8) & 1, bitorder="little")

    def _once(self, number: int, chunk: Chunk) -> Material:
        """Return the chunk's material for a message that was not sent yet: a second one would open the first."""
        if (number, chunk.first) in self._sent:
            raise AssertionError("material is used once")
        self._sent.add((number, chunk.first))
        return self._parts[chunk.first]

    def _first_and(self, layer: int) -> int:
        """Return the number of the layer's first product of shared bits."""
        return sum(merge.ands for before in self._compared.layers[:layer] for merge in before)

    def _operands(self, layer: int, nodes: Rows) -> Iterator[tuple[Rows, Rows]]:
        """Yield the two factors, as a party shares them, of each product of the layer."""
        for merge in self._compared.layers[layer]:
            yield nodes[merge.upper, 1], nodes[merge.lower, 0]
            if merge.equal:
                yield nodes[merge.upper, 1], nodes[merge.lower, 1]

    def _merged(self, layer: int, nodes: Rows, products: Iterator[Rows]) -> Rows:
        """Return the nodes with those of the layer added."""
        found = list(nodes)
        for merge in self._compared.layers[layer]:
            greater = nodes[merge.upper, 0] ^ next(products)
            found.append(np.stack([greater, next(products) if merge.equal else np.zeros_like(greater)]))
        merged = np.stack(found)
        wipe(nodes)
        return merged

    def _outcome(self, nodes: Rows, row: int) -> tuple[Rows, Rows]:
        """Return a party's shares of the carry out of the top and of the one out of the low bits."""
        none, c = np.zeros(row, np.uint8), self._compared
        return (none if c.top is None else nodes[c.top, 0]), (none if c.carry is None else nodes[c.carry, 0])

    def state(self) -> State:
        """Return what the online phase needs."""
        return {
            f"{name}.{first}": value
            for first, material in self._parts.items()
            for name, value in material.items()
            if name in self._KEPT
        }

    def _restore(self, state: State) -> None:
        for key, value in state.items():
            name, _, first = key.partition(".")
            if name in self._KEPT and first:
                self._parts.setdefault(int(first), {})[name] = value


class TableClient(_Tables):
    """Maker of the tables; owner of the share in the products."""

    _KEPT = frozenset({"shares", "chosen", "pads", "nodes", "triples", "select", "products"})

    def __init__(self, vector: Vector, threads: int = 1, mask: Ring | None = None, salt: bytes = b"") -> None:
        super().__init__(vector, threads)
        self._salt = salt
        self.mask: Ring = _core.random_ring(vector.padded, vector.ring_bits) if mask is None else mask  # r'
        self._key: Bytes = np.empty(0, np.uint8)

    def has_chosen(self, chunk: Chunk) -> bool:
        """Return whether the server's transfers may arrive."""
        return chunk.first in self._parts

    def choose(self, chunk: Chunk, shares: Ring, ot: _core.OtReceiver) -> Bytes:
        """Choices: the coefficients of products, random factors, and what selects an element."""
        c, row = self._compared, chunk.padded // 8
        own = random_bytes(2 * len(c.widths) * row).reshape(2, len(c.widths), row)  # its shares of the digits' outcomes
        own[1, ~np.array(c.equals, bool)] = 0
        greater, equal = own
        chosen = [found for g in c.groups for found in coefficients(g, greater[_digits(g)], equal[_digits(g)])]
        chosen += list(random_bytes(2 * c.ands * row).reshape(2 * c.ands, row))
        chosen += list(random_bytes((1 + (self.vector.shift > 0)) * row).reshape(-1, row))
        if self._relu:
            chosen.append(self._negative(shares))
        if not c.bits:  # its share of the outcome is the sign of its share
            chosen[-2] = chosen[-1]
        rows = np.stack(chosen)
        wipe(*chosen)
        correction, blocks = extend_receiver(ot, rows.reshape(-1), self._threads)
        self._parts[chunk.first] = {
            "shares": shares.copy(),  # the caller wipes its own
            "greater": greater,
            "equal": equal,
            "chosen": rows,
            "blocks": blocks,
        }
        return correction

    def receive_garbled(self, chunk: Chunk, content: Bytes, reverse: _core.OtSender) -> Bytes | None:
        """Makes the pads of its tables; answers with products of the server's hidden bit and its share."""
        v, c, n, at = self.vector, self._compared, chunk.padded, group(chunk)
        key, rest = split_key(chunk, content)
        self._key = self._key if key is None else bound_key(key, self._salt)
        kept = self._parts[chunk.first]
        blocks, greater, equal, chosen = kept.pop("blocks"), kept.pop("greater"), kept.pop("equal"), kept["chosen"]
        q = extend_sender(reverse, (c.bits + self._relu) * n, rest, self._threads)
        with wiping(blocks, greater, equal, q):
            digits, selected = c.bits * n * LABEL, (c.transfers + 2 * c.ands) * n * LABEL
            kept["pads"] = _core.table_pads_send(
                self._key, REVERSE_ROW, at, self._digits, reverse.delta, q[:digits], greater, equal, n, self._threads
            )
            random = _core.bit_pads_receive(self._key, 0, at, blocks[:selected], n, self._threads)
            kept["select"] = _core.select_pads_receive(
                self._key, c.transfers + 2 * c.ands, at, v.selectors, blocks[selected:], n, self._threads
            )
            kept["nodes"] = _nodes(c, greater, equal, random)
            both = chosen[c.transfers : c.transfers + 2 * c.ands]
            x, y = both[0::2], both[1::2]
            first, second = random[c.transfers :: 2, 0], random[c.transfers + 1 :: 2, 0]
            kept["triples"] = np.stack([x, y, (x & y) ^ first ^ second])
            wipe(random, both)
            if not self._relu:
                return None
            high = _core.shift_shares(kept["shares"], v.ring_bits, v.shift, v.width)
            number = (REVERSE_ROW + c.bits << _core.ROW_SHIFT) + at
            with wiping(high):
                message, kept["products"] = _core.product_send(
                    self._key, number, v.ring_bits, reverse.delta, q[digits:], high, self._threads
                )
        packed: Bytes = _core.pack(message, v.ring_bits)
        return packed

    def answer(self, number: int, chunk: Chunk, content: Bytes) -> Bytes:
        """Return the client's message of a round; the last uses the material up."""
        kept, row = self._once(number, chunk), chunk.padded // 8
        if number == self.vector.rounds - 1:
            return self._open(chunk, content, self._parts.pop(chunk.first))
        if number == 0:
            tables = kept.pop("pads")
            numbers = self._numbers(kept["shares"], client=True)
            with wiping(numbers):
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
            at, row = 0, 0
            for number, g in enumerate(c.groups):
                for coefficient, equal in _products(g):
                    nodes[number, int(equal)] ^= content[row] & kept["chosen"][at + coefficient]
                    row += 1
                at += g.transfers
            content = content[row:]
        if layer >= len(c.layers):
            return content[:0]
        opened, products = [], []
        for number, (left, right) in enumerate(self._operands(layer, nodes)):
            x, y, xy = kept["triples"][:, self._first_and(layer) + number]
            e, k = content[2 * number] ^ left ^ x, content[2 * number + 1] ^ right ^ y
            opened += [e, k]
            products.append((e & k) ^ (e & y) ^ (k & x) ^ xy)
        kept["nodes"] = self._merged(layer, nodes, iter(products))
        return np.stack(opened)

    def _announce(self, kept: Material, row: int) -> Rows:
        """Its shares of the outcome, moved by what it chose offline."""
        v, c, chosen = self.vector, self._compared, kept["chosen"]
        top, carry = self._outcome(kept["nodes"], row)
        selecting = chosen[c.transfers + 2 * c.ands :]
        kept["sign"] = top ^ selecting[-1] if self._relu else top.copy()
        return np.stack([kept["sign"] ^ selecting[0], *([carry ^ selecting[1]] if v.shift else [])])

    def _open(self, chunk: Chunk, content: Bytes, kept: Material) -> Bytes:
        """Opens one element each and returns it, masked."""
        v, c, row = self.vector, self._compared, chunk.padded // 8 if self._relu else 0
        if not c.bits:
            self._announce(kept, row)
        with wiping(*kept.values()):
            opened = _core.elements_open(
                v.ring_bits,
                v.shift,
                v.width,
                kept["shares"],
                kept["sign"],
                content[:row],
                kept["chosen"][c.transfers + 2 * c.ands :],
                kept.get("products", np.empty(0, np.uint64)),
                part(self.mask, chunk),
                kept["select"],
                unpack(content[row:], chunk.padded << v.selectors, v.ring_bits),
            )
        packed: Bytes = _core.pack(opened, v.ring_bits)
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


class TableServer(_Tables):
    """Reader of the tables; owner of the hidden bit in the products."""

    _KEPT = frozenset({"choices", "read", "masks", "nodes", "triples", "lambda", "select", "u"})

    def __init__(self, vector: Vector, threads: int = 1, salt: bytes = b"") -> None:
        super().__init__(vector, threads)
        self._sent_key = random_bytes(16)
        self._key = bound_key(self._sent_key, salt)
        self._rho: Ring = _core.random_ring(vector.padded, vector.ring_bits)

    def garble(self, chunk: Chunk, choices: Bytes | None, ot: _core.OtSender, reverse: _core.OtReceiver) -> Bytes:
        """Random choices of table entries, and a random bit that hides the sign."""
        assert choices is not None
        v, c, n, at = self.vector, self._compared, chunk.padded, group(chunk)
        bits, row = (c.bits + self._relu) * n, n // 8
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
            kept["select"] = _core.select_pads_send(
                self._key, chosen, at, v.selectors, ot.delta, q[chosen * n * LABEL :], n, self._threads
            )
        with wiping(zero, one):
            one ^= zero
            none = np.zeros((len(c.widths), row), np.uint8)
            kept["nodes"] = _nodes(c, none, none, zero)  # its shares of the products; its own outcomes come online
            masks = [one[number, int(equal)] for number, equal in _every(c)]
            kept["masks"] = np.stack(masks) if masks else np.empty((0, row), np.uint8)
            y, x = one[c.transfers :: 2, 0], one[c.transfers + 1 :: 2, 0]
            kept["triples"] = np.stack([x, y, (x & y) ^ zero[c.transfers :: 2, 0] ^ zero[c.transfers + 1 :: 2, 0]])
        if self._relu:
            kept["lambda"], kept["transferred"] = rows[c.bits], blocks[digits:]
        self._parts[chunk.first] = kept
        return np.concatenate([self._sent_key, correction]) if chunk.first == 0 else correction

    def receive_products(self, chunk: Chunk, content: Bytes) -> None:
        """Its share u of lambda times the client's share."""
        v, kept = self.vector, self._parts[chunk.first]
        message, transferred = unpack(content, chunk.padded, v.ring_bits), kept.pop("transferred")
        with wiping(transferred):
            number = (REVERSE_ROW + self._compared.bits << _core.ROW_SHIFT) + group(chunk)
            kept["u"] = _core.product_receive(
                self._key, number, v.ring_bits, transferred, kept["lambda"], message, self._threads
            )

    def send(self, number: int, chunk: Chunk, shares: Ring) -> Bytes:
        """Return the server's message of a round, for the chunk's shares [padded]."""
        kept = self._once(number, chunk)
        if number == self.vector.rounds - 1:
            return self._elements(chunk, shares, kept)
        if number == 0:
            numbers = self._numbers(shares, client=False)
            with wiping(numbers):
                opened: Bytes = _core.table_open(self._digits, numbers, kept["choices"])
            return opened
        return self._exchange_bits(number - 1, kept).reshape(-1)

    def receive(self, number: int, chunk: Chunk, shares: Ring, content: Bytes) -> Ring | None:
        """Takes the client's message of a round; returns the server's share of the result [padded] after the last."""
        v, c, kept, row = self.vector, self._compared, self._parts[chunk.first], chunk.padded // 8
        if number == v.rounds - 1:
            wipe(*self._parts.pop(chunk.first).values())
            answer = unpack(content, chunk.padded, v.ring_bits)
            closed: Ring = (answer + part(self._rho, chunk)) & np.uint64(2**v.ring_bits - 1)
            return closed
        if number == 0:
            size = self._digits.table_bytes(chunk.padded)
            choices, read = kept.pop("choices"), kept.pop("read")
            with wiping(choices, read):
                greater, equal = _core.table_read(self._digits, content[:size], choices, read, chunk.padded)
            kept["greater"], kept["equal"], content = greater, equal, content[size:]
            for index, g in enumerate(c.groups):
                kept["nodes"][index, 0] ^= above(greater[_digits(g)], equal[_digits(g)])
                kept["nodes"][index, 1] ^= all_of(equal[_digits(g)], range(g.digits))
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
                sent += [found for _, _, found in monomials(g, greater[_digits(g)], equal[_digits(g)])]
            sent = list(np.stack(sent) ^ kept["masks"]) if sent else []
        if layer < len(c.layers):
            for number, (left, right) in enumerate(self._operands(layer, kept["nodes"])):
                x, y, _ = kept["triples"][:, self._first_and(layer) + number]
                sent += [left ^ x, right ^ y]
        return np.stack(sent)

    def _take_opened(self, layer: int, content: Rows, kept: Material) -> Rows:
        """Takes what the client opened into its shares of the layer's products; returns the rows behind."""
        products = []
        count = sum(merge.ands for merge in self._compared.layers[layer])
        for number in range(count):
            x, y, xy = kept["triples"][:, self._first_and(layer) + number]
            e, k = content[2 * number : 2 * number + 2]
            products.append((e & y) ^ (k & x) ^ xy)
        kept["nodes"] = self._merged(layer, kept["nodes"], iter(products))
        return content[2 * count :]

    def _elements(self, chunk: Chunk, shares: Ring, kept: Material) -> Bytes:
        """Return masked elements for every value of the client's bits, after a ReLU's share of the sign xor lambda."""
        v, none = self.vector, np.empty(0, np.uint8)
        top, carry = self._outcome(kept["nodes"], chunk.padded // 8)
        if not self._compared.bits:
            kept["moved_sign"], kept["moved_carry"] = np.zeros_like(top), none
        sign = ~(self._negative(shares) ^ top) if self._relu else top
        turned = sign ^ kept["lambda"] if self._relu else none
        elements = _core.elements_mask(
            v.ring_bits,
            v.shift,
            v.width,
            np.ascontiguousarray(shares),
            sign,
            carry,
            kept["moved_sign"],
            kept["moved_carry"],
            turned,
            kept.get("u", np.empty(0, np.uint64)),
            part(self._rho, chunk),
            kept["select"],
        )
        return np.concatenate([turned, _core.pack(elements, v.ring_bits)])

    def state(self) -> State:
        """Return what `send` and `receive` need; nothing of the extension, whose part is done."""
        return {"rho": self._rho, **super().state()}

    @classmethod
    def restored(cls, vector: Vector, state: State, threads: int) -> Self:
        """Return the material of a `state`."""
        self = cls(vector, threads)
        self._rho = state["rho"]
        self._restore(state)
        return self


def _digits(g: DigitGroup) -> slice:
    return slice(g.first, g.first + g.digits)


def _products(g: DigitGroup) -> Iterator[tuple[int, bool]]:
    """Yield (number of the client's factor, whether it is a part of "equal") of each product, in the order sent."""
    none = np.zeros((g.digits, 0), np.uint8)
    yield from ((number, equal) for number, equal, _ in monomials(g, none, none))


def _every(c: Comparison) -> Iterator[tuple[int, bool]]:
    """Yield the same of all groups, the factors numbered through."""
    at = 0
    for g in c.groups:
        yield from ((at + number, equal) for number, equal in _products(g))
        at += g.transfers


def _nodes(c: Comparison, greater: Rows, equal: Rows, random: Rows) -> Rows:
    """Return a party's shares [groups, 2, row] of "greater" and "equal": of its own bits, and of all products."""
    found = np.zeros((len(c.groups), 2, greater.shape[-1]), np.uint8)
    at = 0
    for index, g in enumerate(c.groups):
        found[index, 0] = above(greater[_digits(g)], equal[_digits(g)])
        found[index, 1] = all_of(equal[_digits(g)], range(g.digits))
        for number, is_equal in _products(g):
            found[index, int(is_equal)] ^= random[at + number, int(is_equal)]
        at += g.transfers
    return found
