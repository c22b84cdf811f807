"""Validation of a plan: types, names, sizes, scales and ranges. Both parties check before any secret moves."""

from __future__ import annotations

import re
from dataclasses import fields
from math import prod
from types import NoneType, UnionType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from ..errors import PlanError, nearest
from .schema import (
    INPUT,
    OUTPUT,
    PARAMETER_SETS,
    PICTURE_BITS,
    VERSION,
    Add,
    AvgPool,
    Concat,
    Conv,
    Linear,
    MaxPool,
    Op,
    Pictures,
    Plan,
    Relu,
    Rescale,
    kept_mask,
    pack_kept,
)
from .shapes import Shape, fractions, shape_of

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./:-]{0,127}")
MAX_OPS = 4096
MAX_ELEMENTS = 2**24  # of one image's tensor
MAX_TOTAL_ELEMENTS = 2**28  # of all tensors of one image: a plan comes from the other party
MAX_KERNEL = 64  # also of strides and paddings; 64 x 64 still fits one polynomial of 4096 coefficients
MAX_WEIGHTS = 2**28  # of one op
MAX_WINDOWS = 2**26  # elements that all windows of one MaxPool visit
MAX_WEIGHT_BITS = 12  # the online kernels multiply in 16 bits
MAX_FRACTION = 128  # in magnitude
MAX_CLASSES = 2**16
MAX_CLASS_NAME = 256  # characters
LINK_RATES = (10**6, 10**11)  # bits per second
MARGIN = 4  # calibrated maxima may be exceeded this many times before an answer is wrong


def validate(plan: Plan) -> None:
    """Raise `PlanError`, naming op, value, bound and remedy, unless ``plan`` keeps every rule of the format."""
    _check_header(plan)
    _check_names(plan)
    found: dict[str, Shape] = {INPUT: plan.input_shape}
    elements = prod(plan.input_shape)
    for op in plan.ops:
        _check_sizes(op)
        operands = [found[name] for name in op.inputs]
        shape = shape_of(op, operands)
        _check_tensor(op.name, shape)
        elements += prod(shape)
        _bound(op.name, "number of elements up to here", elements, 1, MAX_TOTAL_ELEMENTS)
        _check_work(op, operands[0], shape)
        _check_ranges(op, plan.ring.ring_bits)
        if isinstance(op, Relu):
            _check_kept(op, prod(shape))
        found[op.name] = shape
    for name, fraction in fractions(plan).items():
        _bound(name, "fractional bits", fraction, -MAX_FRACTION, MAX_FRACTION)
    if plan.pictures is not None:
        _check_pictures(plan.pictures, plan.input_shape, prod(found[plan.output]))


def fits(value: object, hint: Any) -> bool:
    """Return whether ``value`` is exactly of the annotated type: no bool for an int, no list for a tuple."""
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if type(value) is not tuple:
            return False
        if len(inner) == 2 and inner[1] is Ellipsis:
            return all(fits(item, inner[0]) for item in value)
        return len(value) == len(inner) and all(map(fits, value, inner))
    if get_origin(hint) is UnionType:
        return any(fits(value, option) for option in get_args(hint))
    if hint is int:
        return type(value) is int and value.bit_length() <= 128  # whatever is longer breaks some bound anyway
    return value is None if hint is NoneType else type(value) is hint


_FIELD_TYPES: dict[type[Any], dict[str, Any]] = {}


def field_types(kind: type[Any]) -> dict[str, Any]:
    """Field names of a dataclass, in order, with their annotated types."""
    if kind not in _FIELD_TYPES:  # evaluating annotations is slow, and a plan has thousands of ops
        hints = get_type_hints(kind)
        _FIELD_TYPES[kind] = {field.name: hints[field.name] for field in fields(kind)}
    return _FIELD_TYPES[kind]


def check_types(value: object, where: str) -> None:
    """Raise `PlanError` unless every field of a dataclass instance has its annotated type."""
    for name, hint in field_types(type(value)).items():
        held = getattr(value, name)
        if not fits(held, hint):
            raise PlanError(
                f"{where}: {name} is {held!r:.80}, not of type {_type_name(hint)}", "docs/reference/plan-format.md"
            )


def _type_name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else str(hint)


def check_version(version: object) -> NoReturn:
    """Raise `PlanError` for a version that this program does not read."""
    raise PlanError(f"plan: version {version!r:.20}, this program reads version {VERSION}", "export it again")


def _check_header(plan: Plan) -> None:
    check_types(plan, "plan")
    if plan.version != VERSION:
        check_version(plan.version)
    _bound("plan", "link_rate", plan.link_rate, *LINK_RATES)
    check_types(plan.ring, "ring")
    _bound("ring", "ring_bits", plan.ring.ring_bits, 2, 64)
    _bound("ring", "input_fraction", plan.ring.input_fraction, -MAX_FRACTION, MAX_FRACTION)
    if plan.parameter_set not in PARAMETER_SETS:
        raise PlanError(
            f"plan: unknown parameter set {plan.parameter_set!r:.80}", nearest(plan.parameter_set, PARAMETER_SETS)
        )
    parameters = PARAMETER_SETS[plan.parameter_set]
    if not parameters.min_ring_bits <= plan.ring.ring_bits <= parameters.max_ring_bits:
        right = next(p.name for p in PARAMETER_SETS.values() if plan.ring.ring_bits <= p.max_ring_bits)
        raise PlanError(
            f"plan: {parameters.name} is for {parameters.min_ring_bits} to {parameters.max_ring_bits} ring bits, "
            f"not {plan.ring.ring_bits}",
            f"use {right}",
        )
    _check_tensor(INPUT, plan.input_shape)
    _bound("plan", "number of ops", len(plan.ops), 1, MAX_OPS)


def _check_names(plan: Plan) -> None:
    """Names are new and plain, inputs are known, and every op is needed by the output."""
    known, unused = {INPUT}, {INPUT}
    for index, op in enumerate(plan.ops):
        check_types(op, f"op {index}")
        if not NAME.fullmatch(op.name) or op.name in {INPUT, OUTPUT}:
            raise PlanError(
                f"op {index}: the name {op.name!r:.150} is not allowed",
                f"use at most 128 letters, digits and _./:- but not {INPUT!r} or {OUTPUT!r}",
            )
        if op.name in known:
            raise PlanError(f"{op.name}: the name is used twice", "give every op its own")
        several = isinstance(op, Add | Concat)
        _bound(op.name, "number of inputs", len(op.inputs), 2 if several else 1, MAX_OPS if several else 1)
        for name in op.inputs:
            if name not in known:
                raise PlanError(
                    f"{op.name}: the input {name!r:.150} is not an earlier op", "list ops in topological order"
                )
        known.add(op.name)
        unused.difference_update(op.inputs)
        unused.add(op.name)
    if plan.output not in known - {INPUT}:
        raise PlanError(f"plan: the output {plan.output!r:.150} is not an op", nearest(plan.output, known - {INPUT}))
    for name in sorted(unused - {plan.output}):
        raise PlanError(f"{name}: nothing uses it", "remove it: it would cost time and bytes for nothing")
    if plan.output not in unused:
        raise PlanError(f"plan: the output {plan.output} is also an input of an op", "end the plan at the output")


def _check_pictures(pictures: Pictures, input_shape: Shape, outputs: int) -> None:
    check_types(pictures, "pictures")
    _check_tensor("pictures", pictures.shape)
    channels, height, width = pictures.shape
    if channels not in (1, 3):
        raise PlanError(
            f"pictures: {channels} channels", "1 (grey) and 3 (RGB) are known; leave pictures out otherwise"
        )
    if channels != input_shape[0] or height < input_shape[1] or width < input_shape[2]:
        raise PlanError(f"pictures: {pictures.shape} cannot be averaged down to {input_shape}")
    for name, values in (("mean", pictures.mean), ("std", pictures.std)):
        if len(values) != channels:
            raise PlanError(f"pictures: {name} has {len(values)} values for {channels} channels")
        for value in values:
            _bound("pictures", name, value, 1 if name == "std" else -(2 ** (PICTURE_BITS + 4)), 2 ** (PICTURE_BITS + 4))
    if len(pictures.classes) not in (0, outputs):
        raise PlanError(f"pictures: {len(pictures.classes)} class names for {outputs} outputs")
    _bound("pictures", "number of classes", len(pictures.classes), 0, MAX_CLASSES)
    for name in pictures.classes:
        if not 1 <= len(name) <= MAX_CLASS_NAME or not name.isprintable():
            raise PlanError(
                f"pictures: the class name {name!r:.150} is not allowed", "use 1 to 256 printable characters"
            )


def _check_sizes(op: Op) -> None:
    match op:
        case Conv():
            _bound(op.name, "out_channels", op.out_channels, 1, MAX_ELEMENTS)
            _bound(op.name, "groups", op.groups, 1, MAX_ELEMENTS)
        case Linear():
            _bound(op.name, "out_features", op.out_features, 1, MAX_ELEMENTS)
        case _:
            pass
    if isinstance(op, Conv | Linear):
        _bound(op.name, "weight_bits", op.weight_bits, 2, MAX_WEIGHT_BITS)
        _bound(op.name, "weight_fraction", op.weight_fraction, -MAX_FRACTION, MAX_FRACTION)
    if isinstance(op, Conv | AvgPool | MaxPool):
        for axis in (0, 1):
            _bound(op.name, "kernel", op.kernel[axis], 1, MAX_KERNEL)
            _bound(op.name, "stride", op.stride[axis], 1, MAX_KERNEL)
        for index, padding in enumerate(op.padding):
            # A window that lies wholly in the padding has no maximum.
            _bound(op.name, "padding", padding, 0, op.kernel[index // 2] - 1 if isinstance(op, MaxPool) else MAX_KERNEL)


def _check_tensor(name: str, shape: Shape) -> None:
    for side in shape:
        _bound(name, "size", side, 1, MAX_ELEMENTS)
    _bound(name, "number of elements", prod(shape), 1, MAX_ELEMENTS)


def _check_work(op: Op, operand: Shape, shape: Shape) -> None:
    if isinstance(op, Conv | Linear):
        _bound(op.name, "number of weights", prod(weight_shape(op, operand)), 1, MAX_WEIGHTS)
    if isinstance(op, MaxPool):
        _bound(op.name, "elements in all windows", prod(shape) * prod(op.kernel), 1, MAX_WINDOWS)


def rescale_window(op: Rescale, ring_bits: int) -> int:
    """Return the bits that the operand of a shift to the right may use: `MARGIN` times its calibrated peak fits."""
    return min(ring_bits, max(op.shift + 1, (MARGIN * op.peak).bit_length() + 1))


def weight_shape(op: Conv | Linear, operand: Shape) -> Shape:
    """Shape of the weights for an operand of that shape: [O, C/groups, kernel_h, kernel_w] or [F, C]."""
    if isinstance(op, Linear):
        return op.out_features, operand[0]
    return op.out_channels, operand[0] // op.groups, *op.kernel


def _check_ranges(op: Op, ring_bits: int) -> None:
    """The calibrated maximum, `MARGIN` times over, stays where the protocols are right (design: windows)."""
    match op:
        case Relu():
            _bound(op.name, "window", op.window, 1, ring_bits)
            _bound(op.name, "shift", op.shift, 0, min(ring_bits - 2, op.window - 1))
            _check_peak(op.name, op.peak, MARGIN, 2 ** (op.window - 1) - 1)
        case MaxPool():
            # Differences of two inputs reach twice their peak.
            _bound(op.name, "window", op.window, 1, ring_bits)
            _check_peak(op.name, op.peak, 2 * MARGIN, 2 ** (op.window - 1) - 1)
        case Rescale():
            _bound(op.name, "shift", op.shift, 2 - ring_bits, ring_bits - 2)
            _check_peak(op.name, op.peak, MARGIN * 2 ** max(0, -op.shift), 2 ** (ring_bits - 1) - 1)
        case _:
            pass


def _check_peak(name: str, peak: int, margin: int, bound: int) -> None:
    if peak < 0:
        raise PlanError(f"{name}: peak is {peak}, at least 0 is needed")
    if margin * peak > bound:
        raise PlanError(
            f"{name}: {margin} times the calibrated peak {peak} is {margin * peak}, at most {bound} is allowed",
            "use a wider window or more ring bits, or smaller scales",
        )


def _check_kept(op: Relu, elements: int) -> None:
    if op.kept is None:
        return
    if len(op.kept) != -(-elements // 8):
        raise PlanError(f"{op.name}: kept has {len(op.kept)} bytes, {elements} elements need {-(-elements // 8)}")
    mask = kept_mask(op, elements)
    if pack_kept(mask) != op.kept:
        raise PlanError(f"{op.name}: bits beyond the {elements} elements of kept are set", "clear them")
    if mask.all():
        raise PlanError(f"{op.name}: kept keeps all {elements} elements", "leave kept out: a plan has one spelling")
    if not mask.any():
        raise PlanError(f"{op.name}: kept keeps no element", "use a Rescale, or nothing at shift 0")


def _bound(name: str, what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise PlanError(f"{name}: {what} is {value}, from {low} to {high} is allowed")
