"""From ops without numbers to a valid plan: scales, shifts, windows and peaks, from integer weights and sample images.

One pass in topological order runs the reference interpreter on the samples and chooses, op by op: the shift that brings
an accumulator back to ``activation_bits``, the smallest window that leaves the samples' peak its margin, and the powers
of two that bring the operands of an Add or Concat to one scale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..plan import (
    INPUT,
    PARAMETER_SETS,
    VERSION,
    Add,
    AvgPool,
    Concat,
    Conv,
    FixedPoint,
    Linear,
    MaxPool,
    Op,
    Plan,
    Relu,
    Rescale,
    validate,
)
from ..plan.reference import apply, exact_nonlinear
from ..plan.rules import MARGIN, MAX_WEIGHT_BITS
from .lowered import Lowered

Integers = NDArray[np.int64]
PEAK_DIGITS = 4  # binary digits of a peak that the plan tells: the client need not know more of the samples
LOGIT_BITS = 4  # an open scale at the output: logits come out below 2^4


def calibrate(
    lowered: Lowered,
    weights: Mapping[str, NDArray[Any]],
    images: Integers,
    ring: FixedPoint,
    activation_bits: int = 13,
    weight_bits: int = MAX_WEIGHT_BITS,
) -> Plan:
    """The plan of ``lowered`` with integer ``weights`` (as in weights.safetensors), right for ``images`` [B, C, H, W].

    Weights are below 2^(weight_bits - 1). Every activation of the samples stays within 2^activation_bits, also summed
    up by an AvgPool that reads it. Raises `PlanError` where the ring is too small for that.
    """
    run = _Calibration(lowered, weights, images, ring, activation_bits, weight_bits)
    for op in lowered.ops:
        run.add(op)
    output = lowered.ops[-1].name
    run.settle(output, run.peak(output).bit_length() - LOGIT_BITS)
    if MARGIN * run.peak(output) >= 2 ** (ring.ring_bits - 1):
        raise PlanError(
            f"{output}: {MARGIN} times the calibrated peak {run.peak(output)} leaves the ring of {ring.ring_bits} bits",
            "use more ring bits or fewer activation bits",
        )
    parameter_set = next(p.name for p in PARAMETER_SETS.values() if ring.ring_bits <= p.max_ring_bits)
    channels, height, width = lowered.input_shape
    plan = Plan(VERSION, ring, (channels, height, width), tuple(run.ops.values()), output, parameter_set)
    validate(plan)
    return plan


class _Calibration:
    """What is chosen so far. A linear op's scale stays open until the op that reads it fixes it."""

    def __init__(
        self,
        lowered: Lowered,
        weights: Mapping[str, NDArray[Any]],
        images: Integers,
        ring: FixedPoint,
        bits: int,
        weight_bits: int,
    ) -> None:
        self.weights, self.ring, self.bits, self.weight_bits = weights, ring, bits, weight_bits
        self.ops: dict[str, Op] = {}
        self.values: dict[str, Integers] = {INPUT: images}
        self.fraction: dict[str, int] = {INPUT: ring.input_fraction}
        self.sums = {op.inputs[0]: op for op in lowered.ops if isinstance(op, AvgPool)}
        self.unread = Counter(name for op in lowered.ops for name in set(op.inputs))

    def add(self, op: Op) -> None:
        """Choose the numbers of ``op`` and compute its value."""
        match op:
            case Conv() | Linear():
                self._put(replace(op, weight_bits=self.weight_bits))
            case Relu() | Rescale():
                self._shifted(op)
            case MaxPool():
                peak = _rounded(self.peak(op.inputs[0]))
                self._put(replace(op, peak=peak, window=(2 * MARGIN * peak).bit_length() + 1))
            case Add() | Concat():
                self._put(replace(op, inputs=self._aligned(op)))
            case _:
                self._put(op)
        for name in set(op.inputs):
            self.unread[name] -= 1
            if not self.unread[name]:  # the samples' tensors are large
                del self.values[name]

    def peak(self, name: str) -> int:
        """The largest magnitude of a value that is still there."""
        return int(np.abs(self.values[name]).max())

    def settle(self, name: str, fraction: int) -> None:
        """Give the linear op ``name`` the weight scale with which its result has ``fraction`` fractional bits."""
        op = self.ops[name]
        if name not in self.fraction and isinstance(op, Conv | Linear):
            self.ops[name] = replace(op, weight_fraction=fraction - self.fraction[op.inputs[0]])
            self.fraction[name] = fraction

    def _put(self, op: Op) -> None:
        self.ops[op.name] = op
        operands = [self.values[name] for name in op.inputs]
        self.values[op.name] = apply(op, operands, self.weights, self.ring.ring_bits, exact_nonlinear)
        if not isinstance(op, Conv | Linear):
            for name in op.inputs:  # a pool or Flatten on a linear op's result: any scale will do
                if name not in self.fraction:
                    self.settle(name, self.fraction[self.ops[name].inputs[0]] + self.weight_bits - 1)
            gain = op.shift if isinstance(op, Relu | Rescale) else 0
            self.fraction[op.name] = self.fraction[op.inputs[0]] - gain

    def _shifted(self, op: Relu | Rescale) -> None:
        source = op.inputs[0]
        y, peak = self.values[source], _rounded(self.peak(source))
        kept = np.maximum(y, 0) if isinstance(op, Relu) else y
        largest = int(np.abs(kept).max())
        if op.name in self.sums:
            pooled = apply(self.sums[op.name], [kept], {}, 64, exact_nonlinear)
            largest = max(largest, int(np.abs(pooled).max()))
        shift = max(0, largest.bit_length() - self.bits)
        if source not in self.fraction:  # so that activations keep the fractional bits that they came with
            self.settle(source, self.fraction[self.ops[source].inputs[0]] + shift)
        if isinstance(op, Rescale):
            self._put(replace(op, shift=shift, peak=peak))
        else:
            window = max(shift + 1, (MARGIN * peak + 2**shift - 1).bit_length() + 1)
            self._put(replace(op, shift=shift, peak=peak, window=window))

    def _aligned(self, op: Add | Concat) -> tuple[str, ...]:
        """The operands' names once all have one scale.

        Linear ops whose scale is open take that of the others, scaled up (at no cost) until they are as large.
        """
        fixed = [name for name in op.inputs if name in self.fraction]
        opened = [name for name in op.inputs if name not in self.fraction]
        fraction = max((self.fraction[name] for name in fixed), default=0)
        if opened:
            large = max(self.peak(name).bit_length() for name in opened)
            small = max((self.peak(name).bit_length() for name in fixed), default=self.bits)
            before = self.fraction[self.ops[opened[0]].inputs[0]]
            fraction = (fraction if fixed else before) + max(0, large - small)
        for name in opened:
            self.settle(name, fraction)
        return tuple(self._raised(op, index, fraction) for index, name in enumerate(op.inputs))

    def _raised(self, op: Add | Concat, index: int, fraction: int) -> str:
        source = op.inputs[index]
        if self.fraction[source] == fraction:
            return source
        name = f"{op.name}.operand{index}"
        shift = self.fraction[source] - fraction
        self._put(Rescale(name, (source,), shift, _rounded(self.peak(source))))
        return name


def _rounded(peak: int) -> int:
    """Up to the next number of `PEAK_DIGITS` binary digits."""
    spare = max(0, peak.bit_length() - PEAK_DIGITS)
    return -(-peak >> spare) << spare
