"""The oracle: a plan run in plain integers, bit for bit what both parties compute together.

Every value is the signed representative, in int64, of an element of Z_2^l. Sums wrap modulo 2^64, of which 2^l is a
divisor, so `wrap` may be applied at the end of an op. Plain on purpose, except that convolutions use floating-point
matrix products where they are provably exact (`_exact_conv`): a hundred images of ResNet18 take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import PlanError
from .execution.maxpool import tournament
from .schema import INPUT, Add, AvgPool, Concat, Conv, Flatten, Linear, MaxPool, Op, Plan, Relu, Rescale, kept_mask
from .shapes import fractions

Integers: TypeAlias = NDArray[np.int64]
Nonlinear: TypeAlias = Callable[[Relu | Rescale | MaxPool, Integers], Integers]
Reals: TypeAlias = NDArray[np.float64]
MANTISSA_BITS = 53  # a float64 holds every integer up to 2^53
COLUMN_ELEMENTS = 2**20  # of one matrix of patches: 8 MiB, which stay in the cache


def run(
    plan: Plan, weights: Mapping[str, NDArray[Any]], x: Integers, nonlinear: Nonlinear | None = None
) -> dict[str, Integers]:
    """Return every tensor of a valid plan by name, "input" included, for the images ``x`` [B, C, H, W]
    (`encode_input`).

    ``nonlinear(op, y)`` may stand in for `exact_nonlinear`: y is the operand [B, ...] of a Relu or Rescale, or the
    differences [B, pairs] of one level of a MaxPool, whose positive part is wanted.
    """
    if x.ndim != 4 or x.shape[1:] != plan.input_shape:
        raise PlanError(f"the input has the shape {x.shape}, the plan takes (batch, {plan.input_shape})")
    values = {INPUT: wrap(x.astype(np.int64), plan.ring.ring_bits)}
    for op in plan.ops:
        operands = [values[name] for name in op.inputs]
        values[op.name] = apply(op, operands, weights, plan.ring.ring_bits, nonlinear or exact_nonlinear)
    return values


def answers(plan: Plan, weights: Mapping[str, NDArray[Any]], x: Integers) -> Integers:
    """Return the output [B, ...] alone, as `run` has it, without keeping tensors that are read no more."""
    values = {INPUT: wrap(x.astype(np.int64), plan.ring.ring_bits)}
    last = {name: op.name for op in plan.ops for name in op.inputs}
    for op in plan.ops:
        operands = [values[name] for name in op.inputs]
        values[op.name] = apply(op, operands, weights, plan.ring.ring_bits, exact_nonlinear)
        for name in set(op.inputs):
            if last[name] == op.name and name != plan.output:
                del values[name]
    return values[plan.output]


def apply(
    op: Op,
    operands: list[Integers],
    weights: Mapping[str, NDArray[Any]],
    ring_bits: int,
    nonlinear: Nonlinear,
) -> Integers:
    """Return the result [B, ...] of one op on its operands [B, ...], as signed representatives."""
    first = operands[0]
    match op:
        case Conv() | Linear():
            y = _linear(op, first, weights)
        case Add():
            y = np.add.reduce(operands)
        case Concat():
            y = np.concatenate(operands, axis=1)
        case AvgPool():
            y = np.add.reduce(list(taps(_pad(first, op.padding), op.kernel, op.stride)))
        case MaxPool():
            y = _max_pool(op, first, ring_bits, nonlinear)
        case Relu():
            y = nonlinear(op, first)
        case Rescale():
            y = nonlinear(op, first) if op.shift > 0 else np.left_shift(first, -op.shift)
        case Flatten():
            y = first.reshape(len(first), -1)
    return wrap(y, ring_bits)


def exact_nonlinear(op: Relu | Rescale | MaxPool, y: Integers) -> Integers:
    """Return what the exact protocols compute: comparison with zero, and shifts that round down."""
    if isinstance(op, MaxPool):
        return np.maximum(y, 0)
    if isinstance(op, Rescale):
        return y >> op.shift
    if op.kept is None:
        positive = np.maximum(y, 0)
        return np.right_shift(positive, op.shift, out=positive)
    kept = kept_mask(op, y[0].size).reshape(y.shape[1:])
    return np.where(kept, np.maximum(y, 0), y) >> op.shift


def wrap(values: Integers, ring_bits: int) -> Integers:
    """Representatives in -2^(l-1) .. 2^(l-1) - 1 of the same elements of Z_2^l: drop high bits, extend the sign."""
    spare = 64 - ring_bits
    bound = 2 ** (ring_bits - 1)
    if not spare or (values.size and -bound <= values.min() and values.max() < bound):  # reading is cheaper
        return values
    return (values << spare) >> spare


def encode_input(plan: Plan, x: ArrayLike) -> Integers:
    """Images [B, C, H, W] in real numbers as integers, rounded to the nearest (ties to even).

    Raises `PlanError` when one is not finite or does not fit the ring.
    """
    scaled = np.rint(np.ldexp(np.asarray(x, dtype=np.float64), plan.ring.input_fraction))
    bound = 2.0 ** (plan.ring.ring_bits - 1)
    if not np.all(np.abs(scaled) < bound):  # also false for what is not a number
        raise PlanError(
            f"an input value is not finite or beyond {bound / 2.0**plan.ring.input_fraction:g}, what "
            f"{plan.ring.ring_bits} bits with {plan.ring.input_fraction} fractional ones can hold",
            "normalize the images as in training",
        )
    return scaled.astype(np.int64)


def decode_output(plan: Plan, y: Integers) -> NDArray[np.float64]:
    """Return the output's integers as real numbers."""
    return np.ldexp(y.astype(np.float64), -fractions(plan)[plan.output])


def _linear(op: Conv | Linear, x: Integers, weights: Mapping[str, NDArray[Any]]) -> Integers:
    weight = weights[f"{op.name}.weight"]
    if isinstance(op, Linear):
        y = _exact_conv(x[:, :, None, None], weight[:, :, None, None], (1, 1), (0,) * 4, 1)[:, :, 0, 0]
    else:
        y = _exact_conv(x, weight, op.stride, op.padding, op.groups)
    if op.bias:
        bias = weights[f"{op.name}.bias"]
        y += bias if isinstance(op, Linear) else bias[:, None, None]
    return y


def _exact_conv(
    x: Integers, weight: NDArray[np.int16], stride: tuple[int, int], padding: tuple[int, int, int, int], groups: int
) -> Integers:
    """Convolution mod 2^64 of maps [B, C, H, W] with [O, C/groups, kh, kw], by float64 products that are exact.

    One output sums products w * x. With W the largest sum of |w| of an output and |x| <= X, every partial sum, in
    whatever order and with or without fused multiply-add, is an integer of magnitude at most W * X: exact in a float64
    up to 2^53. Where W * X is larger, x is cut into limbs of b bits with W * 2^b <= 2^53, the highest signed.
    """
    width = int(np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1).max())  # W
    reach = max(int(x.max()), -int(x.min()))  # X
    exact = weight.astype(np.float64)
    if width * reach <= 2**MANTISSA_BITS:
        return convolve(x, exact, stride, padding, groups)
    limb_bits = MANTISSA_BITS - width.bit_length()
    bits = min(64, reach.bit_length() + 1)  # of x, sign included
    y: Integers | None = None
    for low in range(0, bits, limb_bits):
        limb = x >> low
        if low + limb_bits < bits:
            limb &= 2**limb_bits - 1
        part = convolve(limb, exact, stride, padding, groups) << low
        y = part if y is None else y + part
    assert y is not None
    return y


def convolve(
    x: NDArray[Any],
    weight: Reals,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    groups: int,
    dtype: type[Any] = np.int64,
) -> NDArray[Any]:
    """Return the convolution in float64, its result as ``dtype``: products of the weights with matrices of patches.

    A few images at a time, so that the patches stay in the cache.
    """
    outputs, depth, kernel_h, kernel_w = weight.shape
    batch, channels, height, across = x.shape
    out_h = (height + padding[0] + padding[1] - kernel_h) // stride[0] + 1
    out_w = (across + padding[2] + padding[3] - kernel_w) // stride[1] + 1
    matrix = weight.reshape(groups, outputs // groups, -1)
    y = np.empty((batch, groups, outputs // groups, out_h, out_w), dtype=dtype)
    step = max(1, COLUMN_ELEMENTS // (groups * matrix.shape[2] * out_h * out_w))
    for first in range(0, batch, step):
        # Channels first, so that the columns of several images stand side by side.
        part = _pad(x[first : first + step].astype(np.float64).transpose(1, 0, 2, 3), padding)
        if (kernel_h, kernel_w, *stride) == (1, 1, 1, 1):
            columns = part
        else:
            columns = np.empty((channels, kernel_h * kernel_w, part.shape[1], out_h, out_w))
            for index, seen in enumerate(taps(part, (kernel_h, kernel_w), stride)):
                columns[:, index] = seen
        sums = matrix @ columns.reshape(groups, depth * kernel_h * kernel_w, -1)
        y[first : first + step] = sums.reshape(groups, outputs // groups, -1, out_h, out_w).transpose(2, 0, 1, 3, 4)
    return y.reshape(batch, outputs, out_h, out_w)


def taps(maps: NDArray[Any], kernel: tuple[int, int], stride: tuple[int, int]) -> Iterator[NDArray[Any]]:
    """Yield what each place of the kernel, row by row, sees of padded maps [..., H, W]: views [..., out_h, out_w]."""
    rows, columns = ((maps.shape[axis - 2] - kernel[axis]) // stride[axis] * stride[axis] + 1 for axis in (0, 1))
    for u in range(kernel[0]):
        for v in range(kernel[1]):
            yield maps[..., u : u + rows : stride[0], v : v + columns : stride[1]]


def _max_pool(op: MaxPool, x: Integers, ring_bits: int, nonlinear: Nonlinear) -> Integers:
    height, width = x.shape[2:]
    out_h = (height + op.padding[0] + op.padding[1] - op.kernel[0]) // op.stride[0] + 1
    out_w = (width + op.padding[2] + op.padding[3] - op.kernel[1]) // op.stride[1] + 1
    games = tournament(op, x.shape[1:])
    now = x.reshape(len(x), -1)[:, games.start]
    for level in games.levels:
        won = nonlinear(op, wrap(now[:, level.right] - now[:, level.left], ring_bits))
        now = now[:, level.stays]
        now[:, level.winners] = wrap(now[:, level.winners] + won, ring_bits)
    return now.reshape(len(x), x.shape[1], out_h, out_w)


def _pad(x: NDArray[Any], padding: tuple[int, int, int, int]) -> NDArray[Any]:
    if not any(padding):
        return x
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
