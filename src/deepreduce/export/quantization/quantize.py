"""Quantization of lowered ops and real weights to a valid plan and integer weights, by running sample images.

One pass in topological order, in exact integers (`deepreduce.plan.reference`). Every output channel's weights fill
their bits wherever its scale is still open (`scales.py`); the largest power of two that fits is used where it is not:
where shortcuts tie the channels of several ops, whose sizes a first pass over few samples finds out.
Then come the shift that brings an accumulator back to ``activation_bits``, the smallest window that leaves the samples'
peak its margin, and the powers of two that bring the operands of an Add or Concat to one exponent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import PlanError
from ...lowering.ir import Lowered
from ...plan import (
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
from ...plan.reference import apply, exact_nonlinear
from ...plan.validation import MARGIN, MAX_WEIGHT_BITS
from .calibration import peaks
from .fractions import with_fractions
from .pools import pool_window, with_cheaper_pools
from .scales import Reals, Scales

Integers = NDArray[np.int64]
Weights = dict[str, NDArray[Any]]
# With 13 bits more top-1 answers of a ResNet18 on CIFAR-100 change than with 14 (bench/service/agreement.py).
ACTIVATION_BITS = 14
MIN_WEIGHT_BITS = 8  # what may be left of a linear op's weights where its results would leave the ring
OUTLIER = 8.0  # a channel's results may be so many times those of the median channel: more costs the others precision
SCOUT_IMAGES = 8
GROWTH_BITS = 3  # what accumulators may have beyond one product of a weight and an activation


def quantize(
    lowered: Lowered,
    images: NDArray[np.float64],
    ring: FixedPoint,
    activation_bits: int = ACTIVATION_BITS,
    weight_bits: int = MAX_WEIGHT_BITS,
) -> tuple[Plan, Weights]:
    """Return the plan of ``lowered`` (Rescales included) and its integer weights, right for ``images`` [B, C, H, W].

    ``images`` are real numbers as the network takes them. Weights are below 2^(weight_bits - 1); every activation of
    the samples stays within 2^activation_bits, also summed up by an AvgPool that reads it. The same arguments give the
    same plan. Raises `PlanError`, naming the op, where the ring is too small.
    """
    if not np.isfinite(images).all():
        raise PlanError("a calibration image is not finite", "normalize it as in training")
    scales = Scales(lowered)
    scales.balance(peaks(lowered, images[:SCOUT_IMAGES]), 2.0 ** (activation_bits - ring.input_fraction))
    run = _Quantizer(lowered, ring, activation_bits, weight_bits, scales)
    run.start(images)
    for op in lowered.ops:
        run.add(op)
    output = lowered.ops[-1].name
    run.check_answer(output)
    parameter_set = next(p.name for p in PARAMETER_SETS.values() if ring.ring_bits <= p.max_ring_bits)
    ops = with_fractions(tuple(run.ops.values()), run.exponent, weight_bits, output)
    ops, output = with_cheaper_pools(ops, output, lowered.input_shape, ring.ring_bits)
    plan = Plan(VERSION, ring, lowered.input_shape, ops, output, parameter_set)
    validate(plan)
    return plan, run.weights


class _Quantizer:
    """Choices so far, and the samples' values under them: integers that are real * scale * 2^exponent."""

    def __init__(self, lowered: Lowered, ring: FixedPoint, bits: int, weight_bits: int, scales: Scales) -> None:
        self.lowered, self.ring, self.bits, self.weight_bits = lowered, ring, bits, weight_bits
        self.largest = 2 ** (weight_bits - 1) - 1
        # Beyond this many bits, MARGIN times the peak could leave the ring.
        self.accumulator_bits = min(weight_bits + bits + GROWTH_BITS, ring.ring_bits - 4)
        self.scales = scales
        self.ops: dict[str, Op] = {}
        self.weights: Weights = {}
        self.exact: dict[str, tuple[Reals, Reals]] = {}  # weights and biases of linear ops before rounding
        self.operands: dict[str, Integers] = {}  # of linear ops that may be rounded again
        self.values: dict[str, Integers] = {}
        self.exponent: dict[str, int] = {INPUT: ring.input_fraction}
        self.sums = {op.inputs[0]: op for op in lowered.ops if isinstance(op, AvgPool)}
        self.readers = Counter(name for op in lowered.ops for name in set(op.inputs))
        self.unread = Counter(self.readers)

    def start(self, images: NDArray[np.float64]) -> None:
        """Take the samples in."""
        scaled = np.rint(np.ldexp(np.asarray(images, np.float64), self.ring.input_fraction))
        if np.abs(scaled).max() >= 2.0 ** (self.ring.ring_bits - 4):
            raise PlanError("a calibration image leaves the ring", "normalize it as in training")
        self.values[INPUT] = scaled.astype(np.int64)

    def add(self, op: Op) -> None:
        """Choose the numbers of ``op`` and compute its value."""
        match op:
            case Conv() | Linear():
                self._linear(replace(op, weight_bits=self.weight_bits))
            case Relu() | Rescale():
                self._shifted(op)
            case MaxPool():
                peak = rounded_peak(self.peak(op.inputs[0]))
                self._put(replace(op, peak=peak, window=pool_window(peak)))
            case Add() | Concat():
                self._put(replace(op, inputs=self._aligned(op)))
            case _:
                self._put(op)
        for name in set(op.inputs):
            self.unread[name] -= 1
            if not self.unread[name]:  # the samples' tensors are large
                del self.values[name]
                self.exact.pop(name, None)
                self.operands.pop(name, None)

    def peak(self, name: str) -> int:
        """Return the largest magnitude of a value that is still there."""
        values = self.values[name]
        return max(int(values.max()), -int(values.min()))

    def check_answer(self, output: str) -> None:
        """Refuse an answer that the ring cannot hold."""
        if MARGIN * self.peak(output) >= 2 ** (self.ring.ring_bits - 1):
            raise PlanError(
                f"{output}: {MARGIN} times the calibrated peak {self.peak(output)} leaves the ring of "
                f"{self.ring.ring_bits} bits",
                "use more ring bits, or fewer activation bits",
            )

    def _put(self, op: Op) -> None:
        self.ops[op.name] = op
        operand = self.operands.get(op.name)
        operands = [self.values[name] for name in op.inputs] if operand is None else [operand]
        self.values[op.name] = apply(op, operands, self.weights, 64, exact_nonlinear)
        gain = op.shift if isinstance(op, Relu | Rescale) else 0
        if not isinstance(op, Conv | Linear):
            self.exponent[op.name] = self.exponent[op.inputs[0]] - gain

    def _linear(self, op: Conv | Linear) -> None:
        """Choose the scales that are open and the exponent, so that weights fill their bits and results the ring."""
        weight, bias = self.lowered.weights[op.name]
        self.operands[op.name] = self.values[op.inputs[0]]
        before, source = self.exponent[op.inputs[0]], self.scales.of(op.inputs[0])
        groups = op.groups if isinstance(op, Conv) else 1
        per_output = np.repeat(source.reshape(groups, -1), len(weight) // groups, axis=0)  # [O, C/groups]
        unscaled = weight / per_output.reshape(*per_output.shape, *(1,) * (weight.ndim - 2))
        largest = np.abs(unscaled).reshape(len(weight), -1).max(axis=1)
        given = self.scales.of(op.name)
        gain = self._gain(largest, given)
        filled = self.largest / np.ldexp(np.where(largest > 0, largest, np.inf), gain)
        filled[largest == 0] = np.median(filled[largest > 0]) if (largest > 0).any() else 1.0
        scales = np.where(np.isnan(given), filled, given)
        self._try(op, unscaled, bias, scales, before + gain, gain)
        softened = self._without_outliers(op, bias, scales, given, before + gain)
        if softened is not None:
            self._try(op, unscaled, bias, softened, before + gain, gain)
            scales = softened
        self.scales.choose(op.name, scales)
        if np.isnan(given).any() and not np.array_equal(self.scales.of(op.name), scales):  # tied to each other
            self._try(op, unscaled, bias, self.scales.of(op.name), before + gain, gain)
        excess = self.peak(op.name).bit_length() - self.accumulator_bits
        if excess > 0:
            self._check_room(op.name, excess)
            self._lower(op.name, excess)

    def _gain(self, largest: Reals, given: Reals) -> int:
        """Return the exponent of the weights: as much as fits where scales are given, else one that says nothing of
        them.
        """
        fixed = (largest * given)[~np.isnan(given)].max(initial=0.0)
        if not fixed:
            return self.weight_bits
        gain = int(np.floor(np.log2(self.largest / fixed)))
        return gain - int(np.ldexp(fixed, gain) > self.largest)  # the logarithm was rounded

    def _try(self, op: Conv | Linear, unscaled: Reals, bias: Reals, scales: Reals, exponent: int, gain: int) -> None:
        """Round the weights and compute the result; biases that nothing could hold are cut off for now."""
        exact = np.ldexp(unscaled * scales.reshape(-1, *(1,) * (unscaled.ndim - 1)), gain)
        limit = 2.0**60
        self.exact[op.name] = exact, np.clip(np.ldexp(bias * scales, exponent), -limit, limit)
        self.exponent[op.name] = exponent
        self._round(op)

    def _round(self, op: Conv | Linear) -> None:
        exact, bias = self.exact[op.name]
        self.weights[f"{op.name}.weight"] = np.rint(exact).astype(np.int16)
        if op.bias:
            self.weights[f"{op.name}.bias"] = np.rint(bias).astype(np.int64)
        self._put(op)

    def _without_outliers(
        self, op: Conv | Linear, bias: Reals, scales: Reals, given: Reals, exponent: int
    ) -> Reals | None:
        """Smaller scales for open channels whose results are far beyond the others', None if there are none.

        Such channels have tiny weights and a large bias (dead ones, above all): filling their weights' bits would
        leave the others fewer of the activations' bits.
        """
        values = np.moveaxis(self.values[op.name], 1, 0).reshape(len(scales), -1)
        offset = np.abs(np.ldexp(bias * scales, exponent)) if op.bias else np.zeros(len(scales))
        peaks = np.maximum(np.maximum(values.max(axis=1), -values.min(axis=1)).astype(np.float64), offset)
        alive = peaks[(self.exact[op.name][0] != 0).reshape(len(scales), -1).any(axis=1) & (peaks > 0)]
        usual = np.median(alive) if len(alive) else 2.0 ** (self.bits + self.weight_bits - 1)
        allowed = OUTLIER * max(1.0, min(usual, 2.0**self.accumulator_bits))
        factor = np.where(np.isnan(given), np.minimum(1.0, allowed / np.maximum(peaks, 1.0)), 1.0)
        return scales * factor if (factor < 1).any() else None

    def _check_room(self, name: str, excess: int) -> None:
        """Refuse to take that many bits off the weights of ``name`` because the ring is narrow."""
        crowded = self.accumulator_bits < self.weight_bits + self.bits + GROWTH_BITS
        if crowded and self.weight_bits - excess < min(MIN_WEIGHT_BITS, self.weight_bits):
            raise PlanError(
                f"{name}: {MARGIN} times the calibrated peak {self.peak(name)} leaves the ring of "
                f"{self.ring.ring_bits} bits with {self.weight_bits} weight bits and {self.bits} activation bits",
                "use more ring bits, or fewer activation bits",
            )

    def _lower(self, name: str, bits: int) -> None:
        """Take ``bits`` off the weights of a linear op, for a result that is so many times smaller."""
        op = self.ops[name]
        assert isinstance(op, Conv | Linear)
        exact, bias = self.exact[name]
        self.exact[name] = np.ldexp(exact, -bits), np.ldexp(bias, -bits)
        self.exponent[name] -= bits
        self._round(op)

    def _shifted(self, op: Relu | Rescale) -> None:
        y, peak = self.values[op.inputs[0]], rounded_peak(self.peak(op.inputs[0]))
        kept = exact_nonlinear(replace(op, shift=0), y)
        largest = max(int(kept.max()), -int(kept.min()))
        if op.name in self.sums:
            pooled = apply(self.sums[op.name], [kept], {}, 64, exact_nonlinear)
            largest = max(largest, int(np.abs(pooled).max()))
        shift = max(0, largest.bit_length() - self.bits)
        if shift and self._rounds(op.inputs[0], 2 ** (shift - 1)):
            peak = rounded_peak(self.peak(op.inputs[0]))
        if isinstance(op, Rescale):
            self._put(replace(op, shift=shift, peak=peak))
        else:
            window = max(shift + 1, (MARGIN * peak).bit_length() + 1)
            self._put(replace(op, shift=shift, peak=peak, window=window))

    def _rounds(self, name: str, half: int) -> bool:
        """Add ``half`` to a value that one op alone reads, through a bias, so that its shift rounds to the nearest.

        Shifts round down: half a unit everywhere, which a pool of averages over many places would sum up.
        """
        biased = next((other for other in (name, *self._inputs(name)) if self._has_bias_for(other, name)), None)
        if biased is None:
            return False
        self.weights[f"{biased}.bias"] = self.weights[f"{biased}.bias"] + half
        self.values[name] = self.values[name] + half
        return True

    def _inputs(self, name: str) -> tuple[str, ...]:
        return self.ops[name].inputs if name in self.ops else ()

    def _has_bias_for(self, other: str, name: str) -> bool:
        """Return whether the bias of ``other`` moves nothing but ``name``, by as much: it is ``name``, or what that
        adds.
        """
        op, same = self.ops.get(other), other == name
        if not isinstance(op, Conv | Linear) or not op.bias or self.readers[other] != 1 or self.readers[name] != 1:
            return False
        return same or (isinstance(self.ops[name], Add) and self.ops[name].inputs.count(other) == 1)

    def _aligned(self, op: Add | Concat) -> tuple[str, ...]:
        """Return the operands' names once all have one exponent: the largest at which none of them is too large.

        Smaller exponents are raised, at no cost; a linear op that nothing else reads gives up weight bits instead where
        the others, raised to it, would leave the ring.
        """
        if isinstance(op, Concat):
            self._relabel(op)
        names = sorted(set(op.inputs))
        most = self.accumulator_bits - ((len(op.inputs) - 1).bit_length() if isinstance(op, Add) else 0)
        room = [self.exponent[name] + most - self.peak(name).bit_length() for name in names if self.peak(name)]
        common = min([max(self.exponent[name] for name in names), *room])
        for name in names:
            if self.exponent[name] > common and name in self.exact and self.readers[name] == 1:
                self._lower(name, self.exponent[name] - common)
        common = max(self.exponent[name] for name in names)
        return tuple(self._raised(op, index, common) for index in range(len(op.inputs)))

    def _relabel(self, op: Concat) -> None:
        """Bring the operands to one exponent without touching their integers, where their scales are their own.

        Scales times 2^d and exponents less d say the same: only values that share channels must move together.
        """
        first, *others = dict.fromkeys(op.inputs)
        for name in others:
            difference = self.exponent[first] - self.exponent[name]
            for member in self.scales.shift(name, first, difference, self.exponent) if difference else ():
                self.exponent[member] += difference

    def _raised(self, op: Add | Concat, index: int, exponent: int) -> str:
        source = op.inputs[index]
        if self.exponent[source] == exponent:
            return source
        name = f"{op.name}.operand{index}"
        self.scales.same(name, source)
        self._put(Rescale(name, (source,), self.exponent[source] - exponent, rounded_peak(self.peak(source))))
        return name


def rounded_peak(peak: int) -> int:
    """Up to the next 15/16 of a power of two: plans tell one number per octave of what the samples did.

    A margin of four then needs two bits more than the power of two, and no third.
    """
    bits = peak.bit_length()
    rounded = (15 << bits) >> 4
    return rounded if rounded >= peak else (15 << (bits + 1)) >> 4
