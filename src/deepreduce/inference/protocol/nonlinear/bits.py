"""Bits that two parties share by xor, of many elements at once: polynomials of digits' outcomes, and their products.

Rows are packed, uint8 [elements / 8]. docs/reference/protocol.md, "ot".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ....plan.execution.comparison import Comparison, DigitGroup

Rows = NDArray[np.uint8]  # [..., elements / 8]
Subset = tuple[int, ...]


def all_of(rows: Rows, which: Subset | range) -> Rows:
    """Return the product of rows; ones for none."""
    found = np.full(rows.shape[1:], 0xFF, np.uint8)
    for number in which:
        found &= rows[number]
    return found


def above(greater: Rows, equal: Rows, other: Subset = ()) -> Rows:
    """Return the sum over digits j, below all of ``other``, of greater_j times equal_i of the digits i above j that are
    not in ``other``: that part of "the number is greater" whose other factors are the other party's.
    """
    digits = len(greater)
    found: Rows = np.zeros_like(greater[0])
    for j in range(min(other, default=digits)):
        found ^= greater[j] & all_of(equal, tuple(i for i in range(j + 1, digits) if i not in other))
    return found


def subsets(group: DigitGroup) -> list[Subset]:
    """Return the nonempty subsets of the digits but the least significant."""
    upper = range(1, group.digits)
    return [chosen for size in range(1, group.digits) for chosen in combinations(upper, size)]


def coefficients(group: DigitGroup, greater: Rows, equal: Rows) -> Iterator[Rows]:
    """Yield the client's factors in the products of the two parties' shares, of rows [digits, ...] of its own."""
    every = subsets(group)
    yield from (all_of(equal, chosen) for chosen in every)
    yield from (above(greater, equal, chosen) for chosen in every)
    if group.equal:
        yield from (all_of(equal, (0, *chosen)) for chosen in [(), *every][:-1])


def monomials(group: DigitGroup, greater: Rows, equal: Rows) -> Iterator[tuple[int, bool, Rows]]:
    """Yield the server's factors, as (number of the client's, whether the product is a part of "equal", row)."""
    every, digits = subsets(group), range(group.digits)
    for number, chosen in enumerate(every):
        yield number, False, above(greater, equal, chosen)
        if group.equal:
            yield number, True, all_of(equal, tuple(i for i in digits if i not in chosen))
    for number, chosen in enumerate(every, len(every)):
        yield number, False, all_of(equal, chosen)
    if group.equal:
        for number, chosen in enumerate([(), *every][:-1], 2 * len(every)):
            yield number, True, all_of(equal, tuple(i for i in digits if i and i not in chosen))


def digits_of(group: DigitGroup) -> slice:
    """Return where a group's digits stand among all."""
    return slice(group.first, group.first + group.digits)


@cache
def products(group: DigitGroup) -> tuple[tuple[int, bool], ...]:
    """Return (number of the client's factor, whether it is a part of "equal") of each product, in the order sent."""
    none = np.zeros((group.digits, 0), np.uint8)
    return tuple((number, equal) for number, equal, _ in monomials(group, none, none))


@cache
def every_product(compared: Comparison) -> tuple[tuple[int, int, bool], ...]:
    """Return (group, number of the client's factor among all, whether it is a part of "equal") of every product."""
    found, at = [], 0
    for index, group in enumerate(compared.groups):
        found += [(index, at + number, equal) for number, equal in products(group)]
        at += group.transfers
    return tuple(found)


def outcomes(compared: Comparison, greater: Rows, equal: Rows) -> Rows:
    """Return each group's "greater" and "equal" [groups, 2, ...] of one party's digits alone."""
    found = np.zeros((len(compared.groups), 2, greater.shape[-1]), np.uint8)
    for index, group in enumerate(compared.groups):
        own = digits_of(group)
        found[index] = above(greater[own], equal[own]), all_of(equal[own], range(group.digits))
    return found
