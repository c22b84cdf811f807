"""The oracle: a plan run in plain integers, bit for bit what both parties compute together.

Every value is the signed representative, in int64, of an element of Z_2^l. Sums wrap modulo 2^64, of which 2^l is a
divisor, so `wrap` may be applied at the end of an op. Slow on purpose, except that convolutions use the floating-point
matrix product where it is provably exact (`_exact_conv`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from ..errors import PlanError
from .infer import fractions
from .pooling import tournament
from .rules import MAX_WEIGHT_BITS
from .schema import INPUT, Add, AvgPool, Concat, Conv, Flatten, Linear, MaxPool, Op, Plan, Relu, Rescale, kept_mask

Integers: TypeAlias = NDArray[np.int64]
Nonlinear: TypeAlias = Callable[[Relu | Rescale | MaxPool, Integers], Integers]
MANTISSA_BITS = 53  # a float64 holds every integer up to 2^53


def run(
    plan: Plan, weights: Mapping[str, NDArray[Any]], x: Integers, nonlinear: Nonlinear | None = None
) -> dict[str, Integers]:
    """Every tensor of a valid plan by name, "input" included, for the images ``x`` [B, C, H, W] (`encode_input`).

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


def apply(
    op: Op,
    operands: list[Integers],
    weights: Mapping[str, NDArray[Any]],
    ring_bits: int,
    nonlinear: Nonlinear,
) -> Integers:
    """The result [B, ...] of one op on its operands [B, ...], as signed representatives."""
    first = operands[0]
    match op:
        case Conv() | Linear():
            y = _linear(op, first, weights, ring_bits)
        case Add():
            y = np.add.reduce(operands)
        case Concat():
            y = np.concatenate(operands, axis=1)
        case AvgPool():
            padded = _pad(first, op.padding)
            windows = sliding_window_view(padded, op.kernel, axis=(2, 3))[:, :, :: op.stride[0], :: op.stride[1]]
            y = windows.sum(axis=(4, 5), dtype=np.int64)
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
    """What the exact protocols compute: comparison with zero, and shifts that round down."""
    if isinstance(op, MaxPool):
        return np.maximum(y, 0)
    if isinstance(op, Rescale):
        return y >> op.shift
    kept = kept_mask(op, y[0].size).reshape(y.shape[1:])
    return np.where(kept, np.maximum(y, 0), y) >> op.shift


def wrap(values: Integers, ring_bits: int) -> Integers:
    """Representatives in -2^(l-1) .. 2^(l-1) - 1 of the same elements of Z_2^l: drop high bits, extend the sign."""
    spare = 64 - ring_bits
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
            "normalise the images as in training",
        )
    return scaled.astype(np.int64)


def decode_output(plan: Plan, y: Integers) -> NDArray[np.float64]:
    """The output's integers as real numbers."""
    return np.ldexp(y.astype(np.float64), -fractions(plan)[plan.output])


def _linear(op: Conv | Linear, x: Integers, weights: Mapping[str, NDArray[Any]], ring_bits: int) -> Integers:
    weight = weights[f"{op.name}.weight"]
    bias = weights[f"{op.name}.bias"] if op.bias else np.zeros(len(weight), dtype=np.int64)
    if isinstance(op, Linear):
        y = _exact_conv(x[:, :, None, None], weight[:, :, None, None], (1, 1), 1, ring_bits)[:, :, 0, 0]
        return y + bias
    return _exact_conv(_pad(x, op.padding), weight, op.stride, op.groups, ring_bits) + bias[:, None, None]


def _exact_conv(
    x: Integers, weight: NDArray[np.int16], stride: tuple[int, int], groups: int, ring_bits: int
) -> Integers:
    """Convolution mod 2^64 of padded maps [B, C, H, W] with [O, C/groups, kh, kw], by float64 products of limbs.

    x mod 2^l is cut into limbs of b bits. One output sums K = C/groups * kh * kw products, each below 2^11 * 2^b in
    magnitude; with b = 53 - 11 - bit_length(K) every partial sum, in whatever order and with or without fused
    multiply-add, is an integer below 2^53 and so exact in a float64.
    """
    outputs, depth, kernel_h, kernel_w = weight.shape
    limb_bits = MANTISSA_BITS - (MAX_WEIGHT_BITS - 1) - (depth * kernel_h * kernel_w).bit_length()
    batch, _, height, width = x.shape
    out_h, out_w = (height - kernel_h) // stride[0] + 1, (width - kernel_w) // stride[1] + 1
    grouped = weight.astype(np.float64).reshape(groups, outputs // groups, depth, kernel_h, kernel_w)
    residues = x.view(np.uint64) & np.uint64(2**ring_bits - 1)
    y = np.zeros((batch, groups, outputs // groups, out_h * out_w), dtype=np.int64)
    for low in range(0, ring_bits, limb_bits):
        limb = ((residues >> np.uint64(low)) & np.uint64(2**limb_bits - 1)).astype(np.float64)
        part = np.zeros(y.shape)
        for u in range(kernel_h):
            for v in range(kernel_w):
                seen = limb[:, :, u : u + (out_h - 1) * stride[0] + 1 : stride[0]]
                seen = seen[:, :, :, v : v + (out_w - 1) * stride[1] + 1 : stride[1]]
                part += grouped[:, :, :, u, v] @ seen.reshape(batch, groups, depth, out_h * out_w)
        y += part.astype(np.int64) << low
    return y.reshape(batch, outputs, out_h, out_w)


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


def _pad(x: Integers, padding: tuple[int, int, int, int]) -> Integers:
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
