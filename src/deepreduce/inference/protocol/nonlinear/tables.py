"""Base of both roles of comparisons by tables of precomputed transfers (docs/reference/protocol.md, "ot").

The client's number is known offline, the server's online. Online come tables of digits, then products of shared bits;
what follows from the outcome is in `relu` and `shift`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .... import _core
from ....plan.execution.messages import Chunk, Vector
from ...zeroize import wipe
from .bits import Rows
from .vector import State, group

LABEL = 16
REVERSE_ROW = 1 << 20  # rows of the server's transfers are numbered from here on, the client's from 0 (hash keys)

Material = dict[str, NDArray[Any]]  # of a chunk


class Tables:
    """Shapes, and material by chunk, of either role."""

    _KEPT: frozenset[str]  # fields of a chunk's material that the online phase needs

    def __init__(self, vector: Vector, threads: int) -> None:
        self.vector = vector
        self._threads = threads
        self._compared = vector.comparison
        self._digits = _core.Digits(self._compared.widths, self._compared.equals)
        self._parts: dict[int, Material] = {}
        self._sent: set[tuple[int, int]] = set()  # (round, first element) of what was answered with this material

    def _once(self, number: int, chunk: Chunk) -> Material:
        """Return the chunk's material for a message that was not sent yet: a second one would open the first."""
        if (number, chunk.first) in self._sent:
            raise AssertionError("material is used once")
        self._sent.add((number, chunk.first))
        return self._parts[chunk.first]

    def _triples(self, layer: int, kept: Material) -> Iterator[Rows]:
        """Yield the layer's triples of random bits (x, y, share of their product)."""
        first = sum(merge.ands for before in self._compared.layers[:layer] for merge in before)
        count = sum(merge.ands for merge in self._compared.layers[layer])
        return (kept["triples"][:, first + number] for number in range(count))

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

    def _product_row(self, chunk: Chunk, number: int = 0) -> int:
        """Return the first hash key of a product with a lambda, whose rows are behind those of the digits."""
        return (REVERSE_ROW + self._compared.bits + number << int(_core.ROW_SHIFT)) + group(chunk)

    @property
    def _mask(self) -> np.uint64:
        """Return the ring's bits."""
        return np.uint64(2**self.vector.ring_bits - 1)

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
