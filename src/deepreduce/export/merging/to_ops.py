"""Conversion of a graph of values and links back to lowered ops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ...lowering.ir import Lowered
from ...plan import INPUT, Add, AvgPool, Concat, Conv, Flatten, Linear, Op
from .eliminate import is_concatenation
from .linear_graph import Array, LinearLink, Pair, Shape, Value, enters_whole
from .linear_weights import in_groups, written_out


@dataclass(frozen=True)
class Placed:
    """A link as a plan's op: its kernel with ``zeros`` (top, bottom, left, right) around it, strides and padding.

    A crop cannot be padding, so that the kernel must reach over what is cut off.
    """

    kernel: Pair
    zeros: tuple[int, int, int, int]
    stride: Pair
    padding: tuple[int, int, int, int]


def placed(link: LinearLink, operand: Shape, result: Shape) -> Placed:
    """Return the kernel, strides and padding with which an op computes ``link``."""
    kernel, zeros, padding = [], list[int](), list[int]()
    for axis in (0, 1):
        stride, start = link.stride[axis], link.origin[axis]
        beyond = (result[1 + axis] - 1) * stride + start + link.kernel[axis] - operand[1 + axis]
        # What is left over at the far side must be too little for one more output.
        before, after = max(0, start), max(0, -beyond - (stride - 1))
        kernel.append(link.kernel[axis] + before + after)
        zeros += [before, after]
        padding += [max(0, -start), max(0, beyond)]
    top, bottom, left, right = zeros
    return Placed(
        (kernel[0], kernel[1]),
        (top, bottom, left, right),
        link.stride,
        (padding[0], padding[1], padding[2], padding[3]),
    )


def fills(link: LinearLink, operand: Shape) -> bool:
    """Return whether a link's kernel is its whole operand, as a linear layer's on a flattened map."""
    return link.origin == (0, 0) and link.kernel == operand[1:]


def op_of(
    link: LinearLink, operand: Value, result: Value, name: str = "", bias: bool = False
) -> Conv | Linear | AvgPool:
    """Return the op that computes ``link``; a Linear's operand is the flattened map."""
    inputs, channels = (link.operand,), result.shape[0]
    dense = link.groups == 1 and link.kind == "weights" and fills(link, operand.shape)
    if result.vector and (dense or operand.vector):  # of features there are no convolutions
        return Linear(name, inputs, channels, bias, 0, 0)
    place = placed(link, operand.shape, result.shape)
    if link.kind == "pool" and not any(place.zeros) and not bias:
        return AvgPool(name, inputs, place.kernel, place.stride, place.padding)
    return Conv(name, inputs, channels, place.kernel, place.stride, place.padding, link.groups, bias, 0, 0)


def emit(graph: Mapping[str, Value], lowered: Lowered) -> Lowered:
    """Return the ops that compute ``graph``, in which the sources are ops of ``lowered`` as they were.

    An op keeps the name of the value that it computes.
    """
    emission = _Emission(graph, lowered)
    for op in lowered.ops:
        if op.name in graph:
            emission.add(op)
    return Lowered(lowered.input_shape, tuple(emission.ops), emission.weights)


class _Emission:
    """The ops so far. ``vectors`` names the flattened forms of maps, ``same`` the values that are another one's."""

    def __init__(self, graph: Mapping[str, Value], lowered: Lowered) -> None:
        self.graph = graph
        self.ops: list[Op] = []
        self.weights: dict[str, tuple[Array, Array]] = {}
        self.taken = {INPUT, *(op.name for op in lowered.ops)}
        # The Flattens that linear layers read stay under their names.
        self.vectors = {op.inputs[0]: op.name for op in lowered.ops if isinstance(op, Flatten) and op.name not in graph}
        self.made: set[str] = set()
        self.same: dict[str, str] = {}
        self.output = lowered.ops[-1].name

    def add(self, op: Op) -> None:
        """The ops that compute the value of ``op``."""
        value = self.graph[op.name]
        if value.source:
            self.ops.append(replace(op, inputs=tuple(self.same.get(name, name) for name in op.inputs)))
        elif is_concatenation(value, value.bias is not None, self.graph):
            links = sorted(value.links, key=lambda link: link.offset)
            self.ops.append(Concat(op.name, tuple(self._operand(link.operand, value) for link in links)))
        else:
            self._sum(op.name, value)

    def _sum(self, name: str, value: Value) -> None:
        """Every link but plain ones by an op, and an Add of them; the bias goes with the first that has weights."""
        whole = [link for link in value.links if enters_whole(link, self.graph[link.operand].shape, value.shape)]
        if len(value.links) == 1 and whole and value.bias is None and self._is_same(name, value):
            return
        bias, terms = value.bias, list[str]()
        for link in sorted(value.links, key=lambda link: (link.kind != "weights", link in whole)):
            if link in whole and bias is None and len(value.links) > 1:
                terms.append(self._operand(link.operand, value))
                continue
            own = name if len(value.links) == 1 else self._fresh(f"{name}.{len(terms)}")
            self._compute(own, link, value, bias)
            terms.append(own)
            bias = None
        if len(terms) > 1:
            self.ops.append(Add(name, tuple(terms)))

    def _is_same(self, name: str, value: Value) -> bool:
        """Return whether a value that is another one's needs no op but a Flatten."""
        operand = self.same.get(value.links[0].operand, value.links[0].operand)
        if value.vector and not self.graph[operand].vector:
            self.ops.append(Flatten(name, (operand,)))
            return True
        if name != self.output:
            self.same[name] = operand
        return name != self.output

    def _compute(self, name: str, link: LinearLink, value: Value, bias: Array | None) -> None:
        operand = self.graph[link.operand]
        op = op_of(link, operand, value, name, bias is not None)
        if isinstance(op, Linear):
            op = replace(op, inputs=(self._vector(link.operand),))
        else:
            own = self._fresh(f"{name}.map") if value.vector else name
            op = replace(op, name=own, inputs=(self.same.get(link.operand, link.operand),))
        self.ops.append(op)
        if not isinstance(op, AvgPool):
            weights = written_out(link, operand.shape[0], value.shape[0])
            if isinstance(op, Linear):
                weights = in_groups(weights, link.groups, 1).reshape(len(weights), -1)
            else:
                top, bottom, left, right = placed(link, operand.shape, value.shape).zeros
                weights = np.pad(weights, ((0, 0), (0, 0), (top, bottom), (left, right)))
            self.weights[op.name] = weights, np.zeros(len(weights)) if bias is None else bias
        if value.vector and not isinstance(op, Linear):
            self.ops.append(Flatten(name, (op.name,)))

    def _operand(self, name: str, reader: Value) -> str:
        return self._vector(name) if reader.vector else self.same.get(name, name)

    def _vector(self, name: str) -> str:
        """Return the name of a value as features."""
        name = self.same.get(name, name)
        if self.graph[name].vector:
            return name
        if name not in self.vectors:
            self.vectors[name] = self._fresh(f"{name}.flatten")
        if self.vectors[name] not in self.made:
            self.made.add(self.vectors[name])
            self.ops.append(Flatten(self.vectors[name], (name,)))
        return self.vectors[name]

    def _fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name
