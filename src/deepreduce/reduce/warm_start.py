"""A student's first weights taken from a larger network: the channels of largest norm, the same ones everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ..networks.network import Network
from ..networks.tracing.ops import MAX_POOL_FUNCTIONS, MAX_POOLS, SUMS, module_of, parents, relu_kind
from .front_padding import POINTWISE
from .reshape import copy_matching_weights

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# What keeps each channel to itself. Flattening multiplies the features of a channel, which stay side by side.
KEEPING_MODULES = (*MAX_POOLS, *POINTWISE, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ZeroPad2d, nn.Flatten)
KEEPING_FUNCTIONS = {*MAX_POOL_FUNCTIONS, F.avg_pool2d, F.adaptive_avg_pool2d, torch.flatten, "flatten"}


def copy_weights(source: Network, target: Network) -> None:
    """Load into ``target`` the weights of ``source``, a network of the same layers and at least its widths.

    Tensors of equal shape are copied. Where ``target`` has fewer channels, those whose filters have the largest L2 norm
    in ``source`` are taken, in their order. Layers whose results are added have the same channels: their norms count
    together. A network with operations that mix channels otherwise (concatenations, groups of several channels,
    functional weights) inherits only the tensors of equal shape; the others stay as they are.
    """
    known, own = source.body.state_dict(), target.body.state_dict()
    if any(key in known and known[key].shape != value.shape for key, value in own.items()):
        chosen = _Channels(source).chosen(known, own)
        known = {**known, **(chosen or {})}
    copy_matching_weights(known, target.body)


@dataclass
class _Layer:
    """A layer with weights and the channels (roots of `_Channels.joined`) of its results and operands."""

    name: str
    results: int
    operands: int | None  # None: each channel is its own operand (batch norm, depthwise convolution)
    filters: bool  # whether its weights count as filters


@dataclass
class _Channels:
    """Which channels of a network are the same ones: a number per value, joined where values are added."""

    network: Network
    joined: list[int] = field(default_factory=list)
    layers: list[_Layer] = field(default_factory=list)

    def chosen(self, known: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """Return the tensors of ``known`` cut down to the shapes of ``own``; None if the network is not understood."""
        if not self._walk():
            return None
        kept = self._keep(known, own)
        return {key: value for layer in self.layers for key, value in self._cut(layer, kept, known).items()}

    def _walk(self) -> bool:
        of: dict[fx.Node, int] = {}
        for node in self.network.body.graph.nodes:
            if not node.meta["data"] or node.op == "output":
                continue
            channels = self._follow(node, [of[parent] for parent in parents(node)])
            if channels is None:
                return False
            of[node] = channels
        return True

    def _follow(self, node: fx.Node, operands: list[int]) -> int | None:
        """Return the channels of ``node``; None if they cannot be told."""
        layer = module_of(node)
        if node.op == "placeholder":
            return self._new()
        if isinstance(layer, nn.Conv2d | nn.Linear):
            depthwise = isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels
            if isinstance(layer, nn.Conv2d) and layer.groups > 1 and not depthwise:
                return None
            results = operands[0] if depthwise else self._new()
            self._add(_Layer(str(node.target), results, None if depthwise else operands[0], True))
            return results
        if isinstance(layer, NORMS):
            self._add(_Layer(str(node.target), operands[0], None, False))
            return operands[0]
        if node.op != "call_module" and node.target in SUMS and len(operands) == len(node.args):
            for other in operands[1:]:
                self._join(other, operands[0])
            return operands[0]
        return operands[0] if _keeps_channels(node) and len(operands) == 1 else None

    def _add(self, layer: _Layer) -> None:
        """Note the layer; one that is called again has the same channels as before."""
        before = next((other for other in self.layers if other.name == layer.name), None)
        if before is None:
            self.layers.append(layer)
            return
        self._join(layer.results, before.results)
        if layer.operands is not None and before.operands is not None:
            self._join(layer.operands, before.operands)

    def _join(self, channels: int, others: int) -> None:
        self.joined[self._root(channels)] = self._root(others)

    def _new(self) -> int:
        self.joined.append(len(self.joined))
        return len(self.joined) - 1

    def _root(self, channels: int) -> int:
        while self.joined[channels] != channels:
            channels = self.joined[channels]
        return channels

    def _keep(self, known: dict[str, Tensor], own: dict[str, Tensor]) -> dict[int, Tensor]:
        """Return for each root the indices of the channels that stay, ascending."""
        squares: dict[int, Tensor] = {}
        wanted: dict[int, int] = {}
        for layer in self.layers:
            if layer.filters:
                root, weight = self._root(layer.results), known[f"{layer.name}.weight"]
                square = weight.float().flatten(1).square().sum(1)
                squares[root] = squares[root] + square if root in squares else square
                wanted[root] = len(own[f"{layer.name}.weight"])
        counts = {root: min(wanted[root], len(square)) for root, square in squares.items()}
        return {root: square.topk(counts[root]).indices.sort().values for root, square in squares.items()}

    def _cut(self, layer: _Layer, kept: dict[int, Tensor], known: dict[str, Tensor]) -> dict[str, Tensor]:
        results = kept.get(self._root(layer.results))
        cut = {}
        for key in (key for key in known if key.rpartition(".")[0] == layer.name and known[key].dim()):
            value = known[key] if results is None else known[key][results]
            if key.endswith(".weight") and layer.operands is not None:
                operands = kept.get(self._root(layer.operands))
                value = value if operands is None else _columns(value, operands, self._width(layer.operands, known))
            cut[key] = value
        return cut

    def _width(self, channels: int, known: dict[str, Tensor]) -> int:
        root = self._root(channels)
        return next(len(known[f"{e.name}.weight"]) for e in self.layers if e.filters and self._root(e.results) == root)


def _keeps_channels(node: fx.Node) -> bool:
    """Return whether each channel of the result is made of the same channel of the operand."""
    if node.target in {torch.mean, "mean"}:
        axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        return isinstance(axes, tuple | list) and {2, 3, -1, -2}.issuperset(axes)
    known = node.op != "call_module" and node.target in KEEPING_FUNCTIONS
    return bool(relu_kind(node)) or known or isinstance(module_of(node), KEEPING_MODULES)


def _columns(weight: Tensor, operands: Tensor, width: int) -> Tensor:
    """Return the columns of a weight [out, width * features, ...] that read the channels ``operands`` of ``width``."""
    outputs, _, *kernel = weight.shape
    grouped = weight.reshape(outputs, width, -1, *kernel)
    return grouped[:, operands].reshape(outputs, -1, *kernel)
