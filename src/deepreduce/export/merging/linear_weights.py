"""The weights of merged links: the kernels of all paths between two values that are left, composed and summed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
import torch.nn.functional as F

from ...errors import ModelError
from .linear_graph import Array, Graph, LinearLink, Pair, Shape, Value, composed, cut, reads_inside, together, trimmed

FLAT = 1e-6  # relative: by how much a merged bias may differ between pixels (rounding)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A link from ``channels`` to ``outputs`` with its numbers [O, C/groups, kh, kw], or without (a rehearsal)."""

    link: LinearLink
    outputs: int
    channels: int
    weights: Array | None


def with_weights(graph: Graph, left: Mapping[str, Value]) -> dict[str, Value]:
    """``left`` with the weights and biases that its links have in ``graph``, from which the other values are gone."""
    result = {}
    for name, value in left.items():
        if value.source or all(link.operand in left for link in graph[name].links):
            result[name] = graph[name]
            continue
        interior = _interior(graph, left, name)
        kernels = _kernels(graph, interior, name)
        links = tuple(replace(link, weights=_fitted(kernels, link, graph, value.shape)) for link in value.links)
        result[name] = replace(value, links=links, bias=_bias(graph, interior, name))
    return result


def _interior(graph: Graph, left: Mapping[str, Value], name: str) -> list[str]:
    """Return the values that are gone between ``name`` and those that are left, in order."""
    found, waiting = set[str](), [name]
    while waiting:
        for link in graph[waiting.pop()].links:
            if link.operand not in left and link.operand not in found:
                found.add(link.operand)
                waiting.append(link.operand)
    return [other for other in graph if other in found]


def _kernels(graph: Graph, interior: list[str], name: str) -> list[Kernel]:
    """Return the kernels from every remaining value to ``name``, one for each stride, composed from the side that needs
    less work.
    """
    composer = _Composer(graph)
    if _reads_inside(graph, interior, name):
        backwards, forwards = _Composer(graph, rehearse=True), _Composer(graph, rehearse=True)
        backwards.from_result(interior, name)
        forwards.from_operands(interior, name)
        if forwards.work < backwards.work:
            return composer.from_operands(interior, name)
    return composer.from_result(interior, name)


def _reads_inside(graph: Graph, interior: list[str], name: str) -> bool:
    """Return whether no value in between is read beyond its extent, where it is zero and its formula need not be.

    Backwards, such taps are seen and cut off; forwards they are not.
    """
    return all(
        reads_inside(link, graph[link.operand].shape, graph[other].shape)
        for other in (*interior, name)
        for link in graph[other].links
        if link.operand in interior
    )


class _Composer:
    """Composes and sums the kernels of paths; ``work`` counts multiplications. Rehearsing, it only counts."""

    def __init__(self, graph: Graph, rehearse: bool = False) -> None:
        self.graph, self.rehearse, self.work = graph, rehearse, 0

    def from_result(self, interior: list[str], name: str) -> list[Kernel]:
        """Backwards: what each value in between is multiplied with on its way to ``name``."""
        reached: dict[str, list[Kernel]] = {}
        for link in self.graph[name].links:
            self._add(reached.setdefault(link.operand, []), self._kernel(link, name))
        for other in reversed(interior):
            for kernel in reached.pop(other, []):
                outer = _trimmed(kernel, self.graph[other].shape, self.graph[name].shape)
                for link in self.graph[other].links:
                    self._add(reached.setdefault(link.operand, []), self._composed(outer, self._kernel(link, other)))
        return [kernel for kernels in reached.values() for kernel in kernels]

    def from_operands(self, interior: list[str], name: str) -> list[Kernel]:
        """Forwards: how each value that is left enters those in between, and ``name`` at last."""
        inside = set(interior)
        operands = {link.operand for other in (*interior, name) for link in self.graph[other].links} - inside
        return [kernel for operand in sorted(operands) for kernel in self._from_operand(interior, name, operand)]

    def _from_operand(self, interior: list[str], name: str, operand: str) -> list[Kernel]:
        reached: dict[str, list[Kernel]] = {}
        for other in (*interior, name):
            kernels: list[Kernel] = []
            for link in self.graph[other].links:
                own = self._kernel(link, other)
                if link.operand == operand:
                    self._add(kernels, own)
                for inner in reached.get(link.operand, []):
                    self._add(kernels, self._composed(own, inner))
            reached[other] = kernels
        return reached[name]

    def _kernel(self, link: LinearLink, name: str) -> Kernel:
        """Return a link of the graph with its weights written out."""
        channels, outputs = self.graph[link.operand].shape[0], self.graph[name].shape[0]
        return Kernel(link, outputs, channels, None if self.rehearse else written_out(link, channels, outputs))

    def _composed(self, outer: Kernel, inner: Kernel) -> Kernel:
        link = composed(outer.link, inner.link)
        weights = None
        if "identity" not in (outer.link.kind, inner.link.kind):
            taps = prod(outer.link.kernel) * prod(inner.link.kernel)
            self.work += outer.outputs * inner.outputs * inner.channels // link.groups**2 * taps
        if outer.weights is not None and inner.weights is not None:
            weights = _convolved(outer.link, outer.weights, inner.link, inner.weights)
        return Kernel(link, outer.outputs, inner.channels, weights)

    def _add(self, kernels: list[Kernel], new: Kernel) -> None:
        """Add to the kernel of the same operand and stride, or to the list."""
        for index, old in enumerate(kernels):
            if (old.link.operand, old.link.stride) == (new.link.operand, new.link.stride):
                link = together(old.link, new.link)
                weights = None
                if old.weights is not None and new.weights is not None:
                    weights = _widened(old.link, old.weights, link) + _widened(new.link, new.weights, link)
                kernels[index] = Kernel(link, new.outputs, new.channels, weights)
                return
        kernels.append(new)


def written_out(link: LinearLink, channels: int, outputs: int) -> Array:
    """Return the weights [O, C/groups, kh, kw] that a link from ``channels`` to ``outputs`` stands for."""
    if link.weights is not None:
        return link.weights
    if link.kind == "embedding":
        weights = np.zeros((outputs, channels, 1, 1))
        weights[link.offset : link.offset + channels] = np.eye(channels)[:, :, None, None]
        return weights
    return np.ones((outputs, 1, *link.kernel))


def _trimmed(kernel: Kernel, operand: Shape, result: Shape) -> Kernel:
    """Without what no output reads inside the operand."""
    link = trimmed(kernel.link, operand, result)
    weights = None if kernel.weights is None else cut(kernel.weights, kernel.link, link.origin, link.kernel)
    return replace(kernel, link=link, weights=weights)


def _widened(link: LinearLink, weights: Array, wider: LinearLink) -> Array:
    """Return the weights of ``link`` in the kernel and the groups of ``wider``, which holds it."""
    weights = in_groups(weights, link.groups, wider.groups)
    top, left = (link.origin[axis] - wider.origin[axis] for axis in (0, 1))
    result = np.zeros((*weights.shape[:2], *wider.kernel))
    result[:, :, top : top + weights.shape[2], left : left + weights.shape[3]] = weights
    return result


def in_groups(weights: Array, groups: int, fewer: int) -> Array:
    """Weights of ``groups`` written for ``fewer`` groups, with zeros between channels that did not meet."""
    if groups == fewer:
        return weights
    outputs, depth = weights.shape[:2]
    result = np.zeros((outputs, depth * groups // fewer, *weights.shape[2:]))
    share, together_in = outputs // groups, groups // fewer
    for group in range(groups):
        rows, place = slice(group * share, (group + 1) * share), group % together_in * depth
        result[rows, place : place + depth] = weights[rows]
    return result


def _convolved(outer: LinearLink, later: Array, inner: LinearLink, earlier: Array) -> Array:
    """Weights of ``outer`` after ``inner``: out[o, c, s u + a] += later[o, m, u] earlier[m, c, a], for each u or a."""
    if outer.kind == "identity":
        return earlier
    if inner.kind == "identity":
        return later
    link = composed(outer, inner)
    groups, stride = link.groups, inner.stride
    later = in_groups(later, outer.groups, groups)
    earlier = in_groups(earlier, inner.groups, groups)
    later = later.reshape(groups, -1, *later.shape[1:])  # [g, O/g, M/g, kh, kw]
    earlier = earlier.reshape(groups, -1, *earlier.shape[1:])  # [g, M/g, C/g, kh, kw]
    result = np.zeros((groups, later.shape[1], earlier.shape[2], *link.kernel))
    if np.prod(later.shape[3:]) <= np.prod(earlier.shape[3:]):
        for u, v in np.ndindex(later.shape[3:]):
            part = _product(later[..., u, v], earlier)
            top, left = u * stride[0], v * stride[1]
            result[..., top : top + part.shape[3], left : left + part.shape[4]] += part
    else:
        turned = later.swapaxes(1, 2)  # [g, M/g, O/g, kh, kw]
        for u, v in np.ndindex(earlier.shape[3:]):
            part = _product(earlier[..., u, v].swapaxes(1, 2), turned).swapaxes(1, 2)
            bottom, right = u + (part.shape[3] - 1) * stride[0] + 1, v + (part.shape[4] - 1) * stride[1] + 1
            result[..., u : bottom : stride[0], v : right : stride[1]] += part
    return result.reshape(-1, *result.shape[2:])


def _product(matrices: Array, kernels: Array) -> Array:
    """[g, A, M] times [g, M, B, kh, kw]."""
    groups, middle = kernels.shape[:2]
    flat: Array = matrices @ kernels.reshape(groups, middle, -1)
    return flat.reshape(groups, -1, *kernels.shape[2:])


def _fitted(kernels: Iterable[Kernel], link: LinearLink, graph: Graph, result: Shape) -> Array | None:
    """Return the weights of a link of the merged graph: cut to its kernel, in its groups; None where its kind
    says all.
    """
    if link.kind != "weights":
        return None
    total = np.zeros((result[0], graph[link.operand].shape[0] // link.groups, *link.kernel))
    for kernel in kernels:
        if kernel.link.operand == link.operand and _stride(kernel.link, result) == link.stride:
            assert kernel.weights is not None
            cover = replace(together(kernel.link, link), groups=link.groups)
            total += cut(_widened(kernel.link, kernel.weights, cover), cover, link.origin, link.kernel)
    return total


def _stride(link: LinearLink, result: Shape) -> Pair:
    """Return its stride, 1 along an axis with one output: no second one tells."""
    down, across = (1 if result[1 + axis] == 1 else link.stride[axis] for axis in (0, 1))
    return down, across


def _bias(graph: Graph, interior: list[str], name: str) -> Array | None:
    """Return what ``name`` is when all that is left is zero: the same at every pixel, or merging was not exact."""
    maps: dict[str, torch.Tensor] = {}
    for other in (*interior, name):
        value = graph[other]
        terms = [evaluated(link, maps[link.operand], value.shape) for link in value.links if link.operand in maps]
        if value.bias is not None:
            terms.append(torch.from_numpy(value.bias)[:, None, None].expand(value.shape))
        if terms:
            maps[other] = torch.stack(terms).sum(0)
    if name not in maps:
        return None
    bias = maps[name]
    low, high = bias.amin((1, 2)), bias.amax((1, 2))
    if float((high - low).max()) > FLAT * max(1.0, float(bias.abs().max())):
        raise ModelError(f"{name}: merging it would not be exact at the border", "this is a defect: please report it")
    center: Array = bias.mean((1, 2)).numpy()
    return center


def evaluated(link: LinearLink, operand: torch.Tensor, result: Shape) -> torch.Tensor:
    """Return what a link makes of one map [C, H, W] in float64."""
    weights = torch.from_numpy(np.ascontiguousarray(written_out(link, operand.shape[0], result[0])))
    pads = []
    for axis in (1, 0):  # torch counts from the last
        last = (result[1 + axis] - 1) * link.stride[axis] + link.origin[axis] + link.kernel[axis]
        pads += [-link.origin[axis], last - operand.shape[1 + axis]]
    return F.conv2d(F.pad(operand[None], pads), weights, None, link.stride, groups=link.groups)[0]
