"""The ops so far while a network is lowered, and where each of its values is among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..plan import INPUT, Conv, Linear, Op
from .ir import Array

Sides = tuple[int, int, int, int]  # top, bottom, left, right
NONE: Sides = (0, 0, 0, 0)


@dataclass(frozen=True)
class Held:
    """Location of a value: op ``name`` computes ``gain`` times it (a sum of n values is n times their mean).

    It then has ``margin`` around it: zeros that are not computed, or less than what is computed where negative.
    ``shape`` is the value's own, (C, H, W) or (F,).
    """

    name: str
    shape: tuple[int, ...]
    gain: float = 1.0
    margin: Sides = NONE

    @property
    def vector(self) -> bool:
        """Whether it is a row of features."""
        return len(self.shape) == 1


@dataclass
class Building:
    """Ops in topological order, with their weights."""

    ops: list[Op] = field(default_factory=list)
    weights: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    brought: dict[tuple[str, float, Sides], str] = field(default_factory=dict)

    def append(self, op: Op) -> None:
        """Add an op without weights."""
        self.ops.append(op)

    def conv(
        self,
        name: str,
        held: Held,
        weights: Array,
        bias: Array | None,
        stride: tuple[int, int] = (1, 1),
        padding: Sides = NONE,
        groups: int = 1,
    ) -> None:
        """A convolution of the value itself: of gain 1, whatever stands for it.

        A margin becomes padding, and a crop rows and columns of zeros in the kernel.
        """
        if any(margin < 0 < own for own, margin in zip(padding, held.margin, strict=True)):
            held = self.settled(held, None)  # zeros where something was cut off
        sides = [own + margin for own, margin in zip(padding, held.margin, strict=True)]
        zeros = [max(0, -side) for side in sides]
        weights = np.pad(weights, ((0, 0), (0, 0), (zeros[0], zeros[1]), (zeros[2], zeros[3]))) / held.gain
        top, bottom, left, right = (max(0, side) for side in sides)
        kernel, outputs = (weights.shape[2], weights.shape[3]), len(weights)
        op = Conv(
            name, (held.name,), outputs, kernel, stride, (top, bottom, left, right), groups, bias is not None, 0, 0
        )
        self.ops.append(op)
        self.weights[name] = weights, np.zeros(outputs) if bias is None else bias

    def linear(self, name: str, held: Held, weights: Array, bias: Array | None) -> None:
        """A linear layer [F, C] of the value itself."""
        self.ops.append(Linear(name, (held.name,), len(weights), bias is not None, 0, 0))
        self.weights[name] = weights / held.gain, np.zeros(len(weights)) if bias is None else bias

    def channelwise(self, name: str, held: Held, weights: Array, bias: Array | None) -> None:
        """Each output from ``weights`` [O, d] of d channels (or features) of its own, in C/d groups, at one place."""
        outputs, depth = weights.shape
        channels = held.shape[0]
        groups = channels // depth
        if not held.vector:
            self.conv(name, held, weights[:, :, None, None], bias, groups=groups)
            return
        dense = np.zeros((outputs, channels))
        for output in range(outputs):
            start = output * groups // outputs * depth
            dense[output, start : start + depth] = weights[output]
        self.linear(name, held, dense, bias)

    def fold(self, name: str, scale: Array, shift: Array) -> bool:
        """Multiply the result of the linear op ``name`` by ``scale``, add ``shift``; False if the op is not linear."""
        place = next((i for i, op in enumerate(self.ops) if op.name == name), None)
        op = None if place is None else self.ops[place]
        if place is None or not isinstance(op, Conv | Linear):
            return False
        weights, bias = self.weights[name]
        self.weights[name] = weights * scale.reshape(-1, *(1,) * (weights.ndim - 1)), bias * scale + shift
        self.ops[place] = replace(op, bias=True)
        return True

    def settled(self, held: Held, gain: float | None = None, margin: Sides | None = NONE) -> Held:
        """Return the same value with that gain and margin (None: as they are), by an op of its own if they differ."""
        wanted = held.gain if gain is None else gain, held.margin if margin is None else margin
        if wanted == (held.gain, held.margin):
            return held
        gain, margin = wanted
        there = tuple(has - wanted for has, wanted in zip(held.margin, margin, strict=True))
        key = held.name, gain / held.gain, (there[0], there[1], there[2], there[3])
        if key not in self.brought:
            name = self.brought[key] = self.fresh(f"{held.name}.{'scaled' if key[2] == NONE else 'padded'}")
            self.channelwise(name, replace(held, margin=key[2]), np.full((held.shape[0], 1), gain), None)
        return replace(held, name=self.brought[key], gain=gain, margin=margin)

    def alike(self, values: Sequence[Held]) -> list[Held]:
        """Return the same values with one gain and one margin."""
        gains, margins = {held.gain for held in values}, {held.margin for held in values}
        gain, margin = None if len(gains) == 1 else 1.0, None if len(margins) == 1 else NONE
        return [self.settled(held, gain, margin) for held in values]

    def fresh(self, name: str) -> str:
        """``name``, or one like it that no op has."""
        taken = {INPUT, *(op.name for op in self.ops)}
        while name in taken:
            name += "_"
        return name
