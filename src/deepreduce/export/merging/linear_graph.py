"""Linear segments as algebra: values, and the convolution-like links that sum up to them; shapes here, weights apart.

    out(y, x) = sum over u, v of K[u, v] in(y s_h + o_y + u, x s_w + o_x + v)

with zeros outside the operand's extent is a convolution, a pool of averages, a shortcut, a pad or crop, a place in a
concatenation and, with a kernel as large as the map, a linear layer on the flattened map. Two links in a row are one:
strides multiply, origins are s_1 o_2 + o_1, the kernel is the full convolution of the later one, dilated by s_1, with
the earlier one. *Eliminating* a value gives its readers its operands' values instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import gcd
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Shape: TypeAlias = tuple[int, int, int]  # (C, H, W); a vector's is (F, 1, 1)
Pair: TypeAlias = tuple[int, int]  # down, across
Kind: TypeAlias = Literal["weights", "identity", "embedding", "pool"]


@dataclass(frozen=True, slots=True)
class LinearLink:
    """Linear dependence of one value on another. ``origin`` is where the kernel stands for the first output: minus the
    padding.

    ``kind``: "identity" takes each channel once, "embedding" puts the operand's channels at ``offset``, "pool" sums
    each channel over the window; "weights" is any other, in ``groups``. ``weights`` [O, C/groups, kh, kw] are those
    of a link as it came, and None for all others.
    """

    operand: str
    kernel: Pair
    stride: Pair
    origin: Pair
    groups: int
    kind: Kind
    offset: int = 0
    weights: Array | None = field(default=None, compare=False, repr=False)

    @property
    def plain(self) -> bool:
        """Whether the operand enters as it is, in place; the result may be larger or smaller at the far sides."""
        return self.kind == "identity" and self.stride == (1, 1) and self.origin == (0, 0)


@dataclass(frozen=True, slots=True)
class Value:
    """A map. A source (no links) is computed elsewhere; any other is the sum of its links and ``bias`` [C] (or none).

    ``pinned`` values are read by something that is not linear, or are the result: they cannot be eliminated.
    ``multiplied``: such a reader needs them brought back to an activation's scale. ``vector``: features, no 1x1 map.
    """

    shape: Shape
    links: tuple[LinearLink, ...] = ()
    bias: Array | None = field(default=None, compare=False, repr=False)
    pinned: bool = False
    multiplied: bool = False
    vector: bool = False

    @property
    def source(self) -> bool:
        """Whether it is computed elsewhere."""
        return not self.links


Graph: TypeAlias = Mapping[str, Value]  # in topological order


def identity(operand: str, channels: int, origin: Pair = (0, 0)) -> LinearLink:
    """Return a shortcut; with an origin below 0 a pad, above 0 a crop."""
    return LinearLink(operand, (1, 1), (1, 1), origin, channels, "identity")


def enters_whole(link: LinearLink, operand: Shape, result: Shape) -> bool:
    """Return whether the operand enters as it is, in place, and neither padded nor cropped."""
    return link.plain and operand[1:] == result[1:]


def reads_inside(link: LinearLink, operand: Shape, result: Shape) -> bool:
    """Return whether every tap of every output falls inside the operand."""
    return all(
        link.origin[axis] >= 0
        and (result[1 + axis] - 1) * link.stride[axis] + link.origin[axis] + link.kernel[axis] <= operand[1 + axis]
        for axis in (0, 1)
    )


def vanishes_outside(value: Value, biased: bool, graph: Graph) -> bool:
    """Return whether the formula of ``value`` gives zero beyond its extent, which is what its readers see there."""
    return not biased and all(
        link.origin[axis] + link.kernel[axis] <= link.stride[axis]
        and value.shape[1 + axis] * link.stride[axis] + link.origin[axis] >= graph[link.operand].shape[1 + axis]
        for link in value.links
        for axis in (0, 1)
    )


def composed(outer: LinearLink, inner: LinearLink) -> LinearLink:
    """``outer`` after ``inner``, of whose result ``outer.operand`` was the name; without weights."""
    stride = outer.stride[0] * inner.stride[0], outer.stride[1] * inner.stride[1]
    origin = tuple(outer.origin[axis] * inner.stride[axis] + inner.origin[axis] for axis in (0, 1))
    kernel = tuple((outer.kernel[axis] - 1) * inner.stride[axis] + inner.kernel[axis] for axis in (0, 1))
    groups, kind = gcd(outer.groups, inner.groups), _kind(outer, inner)
    offset = outer.offset if kind == "embedding" else 0
    if kind == "embedding" and inner.kind == "embedding":
        offset = inner.offset
    return LinearLink(inner.operand, (kernel[0], kernel[1]), stride, (origin[0], origin[1]), groups, kind, offset)


def _kind(outer: LinearLink, inner: LinearLink) -> Kind:
    if outer.kind == "identity":
        # An embedding that is also moved is no place in a concatenation.
        return inner.kind if outer.plain or inner.kind != "embedding" else "weights"
    if inner.kind == "identity":
        return outer.kind if inner.plain or outer.kind != "embedding" else "weights"
    return "weights"


def together(first: LinearLink, second: LinearLink) -> LinearLink:
    """Return the sum of two links from one operand with one stride; without weights."""
    origin = tuple(min(first.origin[axis], second.origin[axis]) for axis in (0, 1))
    ends = (max(link.origin[axis] + link.kernel[axis] for link in (first, second)) for axis in (0, 1))
    kernel = tuple(end - start for end, start in zip(ends, origin, strict=True))
    groups = gcd(first.groups, second.groups)
    return LinearLink(first.operand, (kernel[0], kernel[1]), first.stride, (origin[0], origin[1]), groups, "weights")


def trimmed(link: LinearLink, operand: Shape, result: Shape) -> LinearLink:
    """``link`` without the rows and columns that no output reads inside the operand; one output has stride 1."""
    stride, origin, kernel = list(link.stride), list(link.origin), list(link.kernel)
    for axis in (0, 1):
        if result[1 + axis] == 1:
            stride[axis] = 1
        last = origin[axis] + (result[1 + axis] - 1) * stride[axis]  # where the kernel stands for the last output
        before = min(max(0, -last), kernel[axis] - 1)
        after = min(max(0, origin[axis] + kernel[axis] - operand[1 + axis]), kernel[axis] - 1 - before)
        origin[axis] += before
        kernel[axis] -= before + after
    return replace(
        link,
        kernel=(kernel[0], kernel[1]),
        stride=(stride[0], stride[1]),
        origin=(origin[0], origin[1]),
        weights=None if link.weights is None else cut(link.weights, link, origin, kernel),
    )


def cut(weights: Array, link: LinearLink, origin: list[int] | Pair, kernel: list[int] | Pair) -> Array:
    """Return the part of ``weights`` of ``link`` that lies in another kernel, which lies inside ``link``'s."""
    down, across = origin[0] - link.origin[0], origin[1] - link.origin[1]
    return weights[:, :, down : down + kernel[0], across : across + kernel[1]]


def segments(graph: Graph) -> Iterator[list[str]]:
    """Yield the values of each linear segment, in order: those that links connect without passing a source."""
    root = {name: name for name in graph}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = name = root[root[name]]
        return name

    for name, value in graph.items():
        for link in value.links:
            if not graph[link.operand].source:
                root[find(name)] = find(link.operand)
    members: dict[str, list[str]] = {}
    for name, value in graph.items():
        if not value.source:
            members.setdefault(find(name), []).append(name)
    yield from members.values()
