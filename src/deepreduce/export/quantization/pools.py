"""Rewrites of max-pools that compute the same with fewer comparisons.

A window's maximum is the maximum of its rows' maxima, which neighboring windows share. And max(0, floor(y / 2^f)) and
floor(y / 2^f) grow with y, so a ReLU or a shift may follow the max-pool that followed it: fewer elements, each compared
at the width of an accumulator instead of an activation. Traffic by the default protocol decides, over a link of 1 Gb/s
and 1 ms.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TypeGuard

from ...plan import INPUT, MaxPool, Op, Relu, Rescale
from ...plan.cost.network_link import LINKS
from ...plan.cost.traffic import interactive
from ...plan.execution.messages import DEFAULT
from ...plan.shapes import Shape, shape_of
from ...plan.validation import MARGIN

LINK = LINKS["lan"]
Chain = tuple[Op, ...]  # each but the first reads the one before


def pool_window(peak: int) -> int:
    """Return the bits that differences of two values need, `MARGIN` times over their calibrated peak."""
    return (2 * MARGIN * peak).bit_length() + 1


def with_cheaper_pools(
    ops: tuple[Op, ...], output: str, input_shape: Shape, ring_bits: int
) -> tuple[tuple[Op, ...], str]:
    """Return ops of the same values, and the name of their answer, with every max-pool in its cheapest form."""
    readers = Counter(name for op in ops for name in set(op.inputs))
    readers[output] += 1
    done: dict[str, Op] = {}
    found: dict[str, Shape] = {INPUT: input_shape}
    renamed: dict[str, str] = {}
    for original in ops:
        op = replace(original, inputs=tuple(renamed.get(name, name) for name in original.inputs))
        chains: list[Chain] = [(op,)]
        if isinstance(op, MaxPool):
            before = done.get(op.inputs[0])
            chains = _forms(op)
            if _grows(before) and readers[before.name] == 1:
                del done[before.name]
                chains = [*((before, *chain) for chain in chains), *_pool_first(before, op, ring_bits)]
        best = min(chains, key=lambda chain: _seconds(chain, found, ring_bits))
        for one in best:
            done[one.name] = one
            found[one.name] = shape_of(one, [found[name] for name in one.inputs])
        renamed[original.name] = best[-1].name
    return tuple(done.values()), renamed[output]


def _forms(pool: MaxPool) -> list[Chain]:
    """Return the windows at once, by rows then columns, and by columns then rows."""
    (high, wide), (down, across), (top, bottom, left, right) = pool.kernel, pool.stride, pool.padding
    if 1 in pool.kernel:
        return [(pool,)]
    horizontal = ((1, wide), (1, across), (0, 0, left, right))
    vertical = ((high, 1), (down, 1), (top, bottom, 0, 0))
    forms: list[Chain] = [(pool,)]
    for kind, (first, second) in {"rows": (horizontal, vertical), "columns": (vertical, horizontal)}.items():
        lines = replace(pool, name=f"{pool.name}.{kind}", kernel=first[0], stride=first[1], padding=first[2])
        rest = replace(pool, inputs=(lines.name,), kernel=second[0], stride=second[1], padding=second[2])
        forms.append((lines, rest))
    return forms


def _grows(op: Op | None) -> TypeGuard[Relu | Rescale]:
    """Return whether an op computes, element by element, what grows with its operand."""
    return (isinstance(op, Relu) and op.kept is None) or (isinstance(op, Rescale) and op.shift > 0)


def _pool_first(before: Relu | Rescale, pool: MaxPool, ring_bits: int) -> list[Chain]:
    """Return the chains in which the pool comes first, if the ring can hold differences of what it then reads."""
    window = pool_window(before.peak)
    if window > ring_bits:
        return []
    early = replace(pool, inputs=before.inputs, peak=before.peak, window=window)
    return [(*chain, replace(before, inputs=(pool.name,))) for chain in _forms(early)]


def _seconds(chain: Chain, found: dict[str, Shape], ring_bits: int) -> float:
    """Return what the chain's messages take over the link; 0 where there is but one form."""
    assert LINK is not None
    if len(chain) == 1 and not isinstance(chain[0], MaxPool):
        return 0.0
    known, total = dict(found), 0.0
    for op in chain:
        operand = known[op.inputs[0]]
        cost = interactive(op, operand, ring_bits, DEFAULT, 1)
        sent = (cost.offline + cost.online).up_bytes + (cost.offline + cost.online).down_bytes
        total += 8 * sent / LINK.rate + cost.online.rounds * LINK.round_trip
        known[op.name] = shape_of(op, [operand])
    return total
