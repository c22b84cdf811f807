"""Calibration: the range of every channel of every value, from a few samples in real numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...lowering.ir import Lowered
from ...plan import INPUT, Add, AvgPool, Concat, Conv, Flatten, Linear, MaxPool, Op, Relu, Rescale, kept_mask
from ...plan.reference import convolve, taps

Reals = NDArray[np.float64]


def peaks(lowered: Lowered, images: Reals) -> dict[str, Reals]:
    """Return the largest magnitude [C] of each channel (or feature) of every value, for images [B, C, H, W]."""
    return {name: _by_channel(value) for name, value in _values(lowered, images)}


def answers(lowered: Lowered, images: Reals) -> Reals:
    """Return the last op's value [B, ...], for images [B, C, H, W]."""
    output = lowered.ops[-1].name
    return next(value for name, value in _values(lowered, images) if name == output)


def _values(lowered: Lowered, images: Reals) -> Iterator[tuple[str, Reals]]:
    """Yield every value with its name, in order; those that no later op reads are dropped."""
    values = {INPUT: np.asarray(images, np.float64)}
    last = {name: op.name for op in lowered.ops for name in op.inputs}
    yield INPUT, values[INPUT]
    for op in lowered.ops:
        values[op.name] = _apply(op, [values[name] for name in op.inputs], lowered)
        yield op.name, values[op.name]
        for name in set(op.inputs):
            if last[name] == op.name:
                del values[name]


def _by_channel(values: Reals) -> Reals:
    largest: Reals = np.abs(values).max(axis=tuple(axis for axis in range(values.ndim) if axis != 1))
    return largest


def _apply(op: Op, operands: list[Reals], lowered: Lowered) -> Reals:
    x = operands[0]
    match op:
        case Conv():
            weight, bias = lowered.weights[op.name]
            return convolve(x, weight, op.stride, op.padding, op.groups, np.float64) + bias[:, None, None]
        case Linear():
            weight, bias = lowered.weights[op.name]
            product: Reals = x @ weight.T + bias
            return product
        case Add():
            total: Reals = np.add.reduce(operands)
            return total
        case Concat():
            return np.concatenate(operands, axis=1)
        case AvgPool():
            pooled: Reals = np.add.reduce(list(taps(_padded(x, op, 0.0), op.kernel, op.stride)))
            return pooled
        case MaxPool():
            largest: Reals = np.maximum.reduce(list(taps(_padded(x, op, -np.inf), op.kernel, op.stride)))
            return largest
        case Relu():
            kept = kept_mask(op, x[0].size).reshape(x.shape[1:])
            return np.where(kept, np.maximum(x, 0), x)
        case Rescale():
            return x
        case Flatten():
            return x.reshape(len(x), -1)


def _padded(x: Reals, op: AvgPool | MaxPool, fill: float) -> Reals:
    top, bottom, left, right = op.padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
