"""The shape of a comparison by digits (docs/reference/protocol.md, "ot"): an AGREEMENT that both compute from the plan.

Compared are two numbers of ``low + high`` bits, cut into digits, of which groups of up to three are evaluated at once
and then merged by twos. Of interest are the carry out of the low bits and the one out of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from .packing import bits_to_bytes

WIDEST_DIGIT = 5  # bits: a digit's table has 2^5 entries at most
GROUP_DIGITS = 3


@dataclass(frozen=True, slots=True)
class DigitGroup:
    """``digits`` digits from number ``first`` on, the least significant; ``equal``: whether equality is needed, too."""

    first: int
    digits: int
    equal: bool

    @property
    def subsets(self) -> int:
        """Nonempty subsets of the digits but the least significant."""
        return (1 << (self.digits - 1)) - 1

    @property
    def transfers(self) -> int:
        """Coefficients of the client's, each the choice of one transfer."""
        return self.subsets * (3 if self.equal else 2)

    @property
    def products(self) -> int:
        """Bits that the server sends: products with these coefficients."""
        return self.subsets * (4 if self.equal else 2)


@dataclass(frozen=True, slots=True)
class Merge:
    """Makes one node of two neighbors; nodes are numbered on from the groups, in order."""

    upper: int
    lower: int
    equal: bool

    @property
    def ands(self) -> int:
        """Products of two shared bits."""
        return 2 if self.equal else 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Digits (the least significant first), groups, and layers of merges; ``carry`` and ``top`` are nodes, or None
    without bits.
    """

    low: int
    high: int
    widths: tuple[int, ...]
    equals: tuple[bool, ...]
    groups: tuple[DigitGroup, ...]
    layers: tuple[tuple[Merge, ...], ...]
    carry: int | None
    top: int | None

    @property
    def bits(self) -> int:
        """Bits of the numbers."""
        return self.low + self.high

    def opening_bytes(self, elements: int) -> int:
        """Return the size of the server's digits."""
        return sum(bits_to_bytes(elements * width) for width in self.widths)

    def table_bytes(self, elements: int) -> int:
        """Return the size of the client's tables, two for a digit of which equality is needed."""
        digits = zip(self.widths, self.equals, strict=True)
        return sum(bits_to_bytes(elements << width) * (1 + equal) for width, equal in digits)

    @property
    def transfers(self) -> int:
        """Transfers of the groups."""
        return sum(group.transfers for group in self.groups)

    @property
    def products(self) -> int:
        """Bits that the server sends for the groups."""
        return sum(group.products for group in self.groups)

    @property
    def ands(self) -> int:
        """Products of shared bits in all layers."""
        return sum(merge.ands for layer in self.layers for merge in layer)


@cache
def comparison(low: int, high: int) -> Comparison:
    """Return the shape for numbers of so many bits."""
    lower, upper = _even(low, WIDEST_DIGIT), _even(high, WIDEST_DIGIT)
    widths = (*lower, *upper)
    groups: list[DigitGroup] = []
    for first, count in (
        (0, len(_even(low, WIDEST_DIGIT))),
        (len(_even(low, WIDEST_DIGIT)), len(_even(high, WIDEST_DIGIT))),
    ):
        at = first
        for digits in _even(count, GROUP_DIGITS):
            groups.append(DigitGroup(at, digits, bool(groups)))
            at += digits
    equals = [True] * len(widths)
    if widths:
        equals[0] = False  # nothing is below the least significant digit
    lows = len(_even(len(lower), GROUP_DIGITS))
    layers, carry, top = _merges(list(range(lows)), list(range(lows, len(groups))))
    return Comparison(low, high, widths, tuple(equals), tuple(groups), layers, carry, top)


def _merges(low: list[int], high: list[int]) -> tuple[tuple[tuple[Merge, ...], ...], int | None, int | None]:
    layers, after = [], len(low) + len(high)
    least = 0  # the node that has no equality
    while len(low) > 1 or len(high) > 1:
        layer: list[Merge] = []
        for nodes in (low, high):
            pairs = [(nodes[i], nodes[i + 1]) for i in range(0, len(nodes) - 1, 2)]
            rest = nodes[2 * len(pairs) :]
            nodes.clear()
            for below, above in pairs:
                layer.append(Merge(above, below, below != least))
                if below == least:
                    least = after
                nodes.append(after)
                after += 1
            nodes += rest
        layers.append(tuple(layer))
    carry = low[0] if low else None
    if low and high:
        layers.append((Merge(high[0], low[0], equal=False),))
        return tuple(layers), carry, after
    return tuple(layers), carry, high[0] if high else carry


def _even(total: int, most: int) -> tuple[int, ...]:
    """``total`` in as few parts of at most ``most`` as can be, as even as can be."""
    parts = -(-total // most)
    return tuple(total // parts + (number < total % parts) for number in range(parts))
