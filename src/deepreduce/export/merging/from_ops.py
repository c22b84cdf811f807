"""Lowered ops as a graph of values and links (`deepreduce.export.merging.linear_graph`), for merging."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...lowering.ir import Lowered
from ...plan import INPUT, Add, AvgPool, Concat, Conv, Flatten, Linear, Op, Relu
from ...plan.shapes import Shape as AnyShape, shape_of
from .linear_graph import Array, LinearLink, Pair, Shape, Value, identity


def graph_of(lowered: Lowered) -> dict[str, Value]:
    """Return every value of ``lowered`` by its op's name, and the image; a Flatten that only Linears read is left out.

    ReLUs, max-pools (and Rescales, if there are any) are sources; what they read, and the result, is pinned.
    """
    found = op_shapes(lowered)
    readers: dict[str, list[Op]] = {name: [] for name in found}
    for op in lowered.ops:
        for name in op.inputs:
            readers[name].append(op)
    graph = {INPUT: Value(_map(found[INPUT]))}
    flattened: dict[str, str] = {}  # Flattens left out: the map they read
    for op in lowered.ops:
        operands = {name: _map(found[name]) for name in op.inputs}
        if isinstance(op, Flatten) and _is_silent(op, found, readers[op.name]):
            flattened[op.name] = op.inputs[0]
            continue
        links, bias = _links(op, operands, lowered, {n: (m, _map(found[m])) for n, m in flattened.items()})
        value = Value(_map(found[op.name]), links, bias, vector=len(found[op.name]) == 1)
        if op is lowered.ops[-1]:
            value = replace(value, pinned=True)
        if not links:
            for name in op.inputs:
                read = graph[name]
                graph[name] = replace(read, pinned=True, multiplied=read.multiplied or not isinstance(op, Relu))
        graph[op.name] = value
    return graph


def op_shapes(lowered: Lowered) -> dict[str, AnyShape]:
    """Return the shape of every op's value, and of the image."""
    found: dict[str, AnyShape] = {INPUT: lowered.input_shape}
    for op in lowered.ops:
        found[op.name] = shape_of(op, [found[name] for name in op.inputs])
    return found


def _map(shape: AnyShape) -> Shape:
    return (shape[0], 1, 1) if len(shape) == 1 else (shape[0], shape[1], shape[2])


def _is_silent(op: Flatten, found: Mapping[str, AnyShape], readers: list[Op]) -> bool:
    """Return whether linear layers read a map of more than one place through this Flatten, and nothing else does."""
    places = _map(found[op.inputs[0]])[1:] != (1, 1)
    return places and bool(readers) and all(isinstance(reader, Linear) for reader in readers)


def _links(
    op: Op, operands: Mapping[str, Shape], lowered: Lowered, flattened: Mapping[str, tuple[str, Shape]]
) -> tuple[tuple[LinearLink, ...], Array | None]:
    """Return the links and the bias of what ``op`` computes; none for a source."""
    first = op.inputs[0]
    match op:
        case Conv():
            weights, bias = lowered.weights[op.name]
            origin = -op.padding[0], -op.padding[2]
            return (_conv_link(first, weights, op.stride, origin, op.groups),), bias if op.bias else None
        case Linear():
            weights, bias = lowered.weights[op.name]
            operand, shape = flattened.get(first, (first, operands[first]))
            kernel = weights.reshape(len(weights), *shape)
            return (
                LinearLink(operand, shape[1:], (1, 1), (0, 0), 1, "weights", weights=kernel),
            ), bias if op.bias else None
        case Add():
            return tuple(identity(name, operands[name][0]) for name in op.inputs), None
        case Concat():
            starts = np.cumsum([0, *(operands[name][0] for name in op.inputs)])
            return tuple(
                LinearLink(name, (1, 1), (1, 1), (0, 0), 1, "embedding", int(start))
                for name, start in zip(op.inputs, starts, strict=False)
            ), None
        case AvgPool():
            origin = -op.padding[0], -op.padding[2]
            return (LinearLink(first, op.kernel, op.stride, origin, operands[first][0], "pool"),), None
        case Flatten() if operands[first][1:] == (1, 1):
            return (identity(first, operands[first][0]),), None
        case _:
            return (), None


def _conv_link(operand: str, weights: Array, stride: Pair, origin: Pair, groups: int) -> LinearLink:
    """Return a convolution without the rows and columns of zeros around its kernel; a mere pad or crop as what
    it is.
    """
    taken = np.argwhere(weights.any(axis=(0, 1)))
    low, high = (taken.min(0), taken.max(0) + 1) if len(taken) else (np.zeros(2, int), np.ones(2, int))
    weights = weights[:, :, low[0] : high[0], low[1] : high[1]]
    place = origin[0] + int(low[0]), origin[1] + int(low[1])
    kernel = int(high[0] - low[0]), int(high[1] - low[1])
    single = kernel == stride == (1, 1) and len(weights) == groups and weights.shape[1] == 1
    if single and (weights == 1).all():
        return identity(operand, groups, place)
    return LinearLink(operand, kernel, stride, place, groups, "weights", weights=weights)
