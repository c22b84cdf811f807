"""Real scales, one per channel of every value, and which channels of which values must share theirs.

The integers of a value stand for ``integer / (scale * 2^exponent)``: one exponent per value, a scale for each channel.
An op that only compares, adds, shifts or moves elements keeps its operands' scales; a linear op can change them, since
its weights absorb both. Channels tied together, by shortcuts for example, are one variable here. Where a single linear
op writes a variable, its weights may choose it; where several do, it is chosen beforehand by the size of the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray

from ...lowering.ir import Lowered
from ...plan import INPUT, Add, Concat, Conv, Flatten, Linear
from ...plan.shapes import Shape, shape_of

Reals = NDArray[np.float64]
Indices = NDArray[np.int64]
SMALLEST = 2.0**-10  # a channel's values against the usual ones: below, it gets no more of the integers' bits


class Scales:
    """The scales of all channels (or features), known or yet to be chosen.

    Those of the image and of the answer are 1: the client encodes the one and decodes the other by powers of two.
    """

    def __init__(self, lowered: Lowered) -> None:
        ties = _Ties()
        variables = {INPUT: ties.new(lowered.input_shape[0])}
        found: dict[str, Shape] = {INPUT: lowered.input_shape}
        for op in lowered.ops:
            found[op.name] = shape_of(op, [found[name] for name in op.inputs])
            first, *others = (variables[name] for name in op.inputs)
            match op:
                case Conv() | Linear():
                    first = ties.new(found[op.name][0])
                case Concat():
                    first = np.concatenate([first, *others])
                case Flatten():
                    first = np.repeat(first, prod(found[op.inputs[0]][1:]))
                case Add():
                    for other in others:
                        ties.join(first, other)
                case _:
                    pass
            variables[op.name] = first
        self._variables = {name: ties.roots(ids) for name, ids in variables.items()}
        self._scales = np.full(ties.count, np.nan)
        self._writers = np.zeros(ties.count, dtype=np.int64)
        for op in lowered.ops:
            if isinstance(op, Conv | Linear):
                self._writers[np.unique(self._variables[op.name])] += 1
        self._fixed = np.unique(np.concatenate([self._variables[name] for name in (INPUT, lowered.ops[-1].name)]))
        self._scales[self._fixed] = 1.0

    def of(self, name: str) -> Reals:
        """Return the scales [C] of a value's channels, not a number where they are still open."""
        return self._scales[self._variables[name]]

    def choose(self, name: str, scales: Reals) -> None:
        """Fill in the open scales of a value; of channels that are tied to each other the smallest counts."""
        places = self._variables[name]
        still_open = np.isnan(self._scales[places])
        self._scales[places[still_open]] = np.inf
        np.minimum.at(self._scales, places[still_open], scales[still_open])

    def same(self, name: str, source: str) -> None:
        """A value of another name, with the channels of ``source``."""
        self._variables[name] = self._variables[source]

    def shift(self, name: str, apart: str, bits: int, computed: Iterable[str]) -> set[str]:
        """Divide a value's scales by 2^bits: values that share one of them must raise their exponent by ``bits``.

        Returns those of the ``computed`` values which that concerns; none, and nothing is done, when the value
        ``apart`` is among them or a scale is fixed.
        """
        places, members, before = set(self._variables[name].tolist()), {name}, 0
        while before != len(places):
            before = len(places)
            for other in computed:
                if other not in members and not places.isdisjoint(self._variables[other].tolist()):
                    members.add(other)
                    places.update(self._variables[other].tolist())
        if apart in members or not places.isdisjoint(self._fixed.tolist()):
            return set()
        chosen = sorted(places)
        self._scales[chosen] = np.ldexp(self._scales[chosen], -bits)
        return members

    def balance(self, peaks: Mapping[str, Reals], size: float) -> None:
        """Choose the scales that several linear ops write, so that values' ``peaks`` [C], by name, become ``size``."""
        largest = np.zeros(len(self._scales))
        for name, of_channels in peaks.items():
            np.maximum.at(largest, self._variables[name], of_channels)
        shared = np.isnan(self._scales) & (self._writers > 1)
        of_shared = largest[shared]
        usual = np.median(of_shared[of_shared > 0]) if (of_shared > 0).any() else 1.0
        self._scales[shared] = size / np.maximum(of_shared, SMALLEST * usual)


class _Ties:
    """Union-find over integers."""

    def __init__(self) -> None:
        self._parents: list[int] = []

    @property
    def count(self) -> int:
        return len(self._parents)

    def new(self, count: int) -> Indices:
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def join(self, left: Indices, right: Indices) -> None:
        for a, b in set(zip(left.tolist(), right.tolist(), strict=True)):
            low, high = sorted((self._root(a), self._root(b)))
            self._parents[high] = low

    def roots(self, ids: Indices) -> Indices:
        found = {i: self._root(i) for i in set(ids.tolist())}
        return np.array([found[i] for i in ids.tolist()], dtype=np.int64)

    def _root(self, i: int) -> int:
        while self._parents[i] != i:
            self._parents[i] = self._parents[self._parents[i]]
            i = self._parents[i]
        return i
