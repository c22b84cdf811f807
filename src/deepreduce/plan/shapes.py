"""Inference of the shape and the scale of every tensor of a plan."""

from __future__ import annotations

from math import prod
from typing import TypeAlias

from ..errors import PlanError
from .schema import INPUT, Add, AvgPool, Concat, Conv, Flatten, Linear, MaxPool, Op, Plan, Relu, Rescale

Shape: TypeAlias = tuple[int, ...]


def shapes(plan: Plan) -> dict[str, Shape]:
    """Return the shape of one image's tensor under every name, "input" included: (C, H, W) or (F,).

    Raises `PlanError` where shapes do not fit.
    """
    found: dict[str, Shape] = {INPUT: tuple(plan.input_shape)}
    for op in plan.ops:
        found[op.name] = shape_of(op, [found[name] for name in op.inputs])
    return found


def fractions(plan: Plan) -> dict[str, int]:
    """Fractional bits under every name: an integer v stands for v / 2^fraction.

    Raises `PlanError` where the operands of one op differ in scale.
    """
    found = {INPUT: plan.ring.input_fraction}
    for op in plan.ops:
        operands = {found[name] for name in op.inputs}
        if len(operands) > 1:
            raise PlanError(
                f"{op.name}: operands have {sorted(operands)} fractional bits, one scale is needed",
                "bring them together with a Rescale",
            )
        found[op.name] = operands.pop() + _gain(op)
    return found


def shape_of(op: Op, operands: list[Shape]) -> Shape:
    """Return the shape that ``op`` makes of its operands' shapes. Raises `PlanError` when they do not fit."""
    first = operands[0]
    match op:
        case Conv():
            channels, _, _ = _image(op, first)
            if channels % op.groups or op.out_channels % op.groups:
                raise PlanError(
                    f"{op.name}: {channels} to {op.out_channels} channels do not divide into {op.groups} groups",
                    "both channel counts must be multiples of the groups",
                )
            return (op.out_channels, *_slide(op, first))
        case Linear():
            if len(first) != 1:
                raise PlanError(f"{op.name}: Linear takes (features,), not {first}", "put a Flatten before it")
            return (op.out_features,)
        case Add():
            if any(shape != first for shape in operands):
                raise PlanError(f"{op.name}: Add takes equal shapes, not {operands}", "project the shortcut")
            return first
        case Concat():
            if any(len(shape) != len(first) or shape[1:] != first[1:] for shape in operands):
                raise PlanError(f"{op.name}: Concat takes maps of one size, not {operands}", "only channels may differ")
            return (sum(shape[0] for shape in operands), *first[1:])
        case AvgPool() | MaxPool():
            channels, _, _ = _image(op, first)
            return (channels, *_slide(op, first))
        case Relu() | Rescale():
            return first
        case Flatten():
            return (prod(_image(op, first)),)


def _image(op: Op, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise PlanError(f"{op.name}: {type(op).__name__} takes (channels, height, width), not {shape}")
    return shape[0], shape[1], shape[2]


def _slide(op: Conv | AvgPool | MaxPool, shape: Shape) -> tuple[int, int]:
    """Positions of the kernel on the padded map, downwards and across."""
    top, bottom, left, right = op.padding
    height, width = shape[1] + top + bottom - op.kernel[0], shape[2] + left + right - op.kernel[1]
    if height < 0 or width < 0:
        raise PlanError(
            f"{op.name}: a kernel of {op.kernel} does not fit a map of {shape[1:]} padded by {op.padding}",
            "make the kernel smaller or the padding larger",
        )
    return height // op.stride[0] + 1, width // op.stride[1] + 1


def _gain(op: Op) -> int:
    match op:
        case Conv() | Linear():
            return op.weight_fraction
        case Relu() | Rescale():
            return -op.shift
        case _:
            return 0
