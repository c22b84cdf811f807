"""Front padding: the zeros of a linear segment all stand at its beginning, so that the segment is one convolution.

Where a ReLU between two padded convolutions is gone, the second pads the first one's result with zeros at the border,
which no single convolution does: merged, they would differ there. So the zeros move to the front of the segment. Each
value in it is computed with the margin that its readers reach into, and only what begins the segment (the image, a
ReLU, a pool of maxima) is padded. Inside, nothing is zero that a convolution could have computed, and merging is exact
at every pixel.
"""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, cast

import torch
from torch import fx, nn

from ..networks.network import Network
from ..networks.tracing.ops import MARGIN, PRODUCTS, SUMS, is_shape_query, module_of, parents
from .annealed_relu import AnnealedReLU

MARK = "front_padding"  # in a node's meta: True for the pads and crops made here, else the padding a layer had before
CONCATENATIONS = {torch.cat, torch.concat, torch.concatenate}
Windowed: TypeAlias = nn.Conv2d | nn.AvgPool2d
POINTWISE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, AnnealedReLU)


class Margin(NamedTuple):
    """Rows and columns beyond a value's nominal extent; negative ones are within it."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


@dataclass(frozen=True)
class _Window:
    """A sliding window's side lengths, strides and own padding (top, bottom, left, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Margin

    def reach(self, margin: Margin, extent: tuple[int, int]) -> Margin:
        """Return what of an operand of ``extent`` is read for results with ``margin``."""
        sides = []
        for axis in (0, 1):
            before, after = self.padding[2 * axis : 2 * axis + 2]
            kernel, stride = self.kernel[axis], self.stride[axis]
            unread = (extent[axis] + before + after - kernel) % stride
            sides += [before + margin[2 * axis] * stride, after + margin[2 * axis + 1] * stride - unread]
        return Margin(*sides)


def front_padded(network: Network) -> Network:
    """Return a new network whose zero padding stands at the front of each linear segment; weights and names are the
    same.

    A network in which every padded layer reads a ReLU (or the image, or a max-pool) comes out unchanged. Counts of
    ReLUs stay; MACs grow by the margins.
    """
    plain = without_front_padding(network)
    body = plain.copy_body()
    _Padding(body).rewrite()
    body.graph.lint()
    body.recompile()
    return plain.with_body(body, plain.point)


def without_front_padding(network: Network) -> Network:
    """Return the network as it was before `front_padded`: every layer pads for itself."""
    if not is_front_padded(network):
        return network
    body = network.copy_body()
    for node in list(body.graph.nodes):
        mark = node.meta.pop(MARK, None)
        node.meta.pop(MARGIN, None)
        if mark is True:
            node.replace_all_uses_with(node.args[0])
            body.graph.erase_node(node)
            body.delete_submodule(str(node.target))
        elif mark is not None:
            cast(Windowed, module_of(node)).padding = mark
    body.graph.lint()
    body.recompile()
    return network.with_body(body, network.point)


def is_front_padded(network: Network) -> bool:
    """Return whether `front_padded` changed this network."""
    return any(MARK in node.meta for node in network.body.graph.nodes)


class _Padding:
    """One rewrite: who is settled, which margin each value needs, and then the graph."""

    def __init__(self, body: fx.GraphModule) -> None:
        self.body, self.graph = body, body.graph
        self.data = [node for node in body.graph.nodes if node.meta["data"]]
        rigid = {node for node in self.data if not _is_extendable(node)}
        layers = {node.target for node in rigid if node.op == "call_module"}
        rigid |= {node for node in self.data if node.op == "call_module" and node.target in layers}
        self.windows = {n: window for n in self.data if n not in rigid and (window := _window(n)) is not None}
        self.settled = rigid  # computed at their nominal extent, zero beyond it as far as readers know
        for node in self.data:
            if _keeps_zero(node) and self.settled.issuperset(parents(node)):
                self.settled.add(node)
        self.explicit: set[str] = set()  # layers that leave their padding to the front
        self.margin = dict.fromkeys(self.data, Margin())
        self.moved: dict[tuple[fx.Node, Margin], fx.Node] = {}

    def rewrite(self) -> None:
        """Change the graph."""
        while self._find_margins():  # until no layer is found that pads at one of its calls and not at another
            pass
        for node in self.data:
            for parent in parents(node):
                need = self._need(node, parent)
                if need != self.margin[parent] and not self._may_read_more(node, parent, need):
                    node.replace_input_with(parent, self._move(parent, need))
        layers = {node: module_of(node) for node in self.windows if str(node.target) in self.explicit}
        for node, layer in layers.items():
            node.meta[MARK] = cast(Windowed, layer).padding
        for layer in layers.values():
            cast(Windowed, layer).padding = (0, 0)
        for node in self.data:
            if any(self.margin[node]):
                node.meta[MARGIN] = tuple(self.margin[node])

    def _find_margins(self) -> bool:
        """Return one walk backwards. Whether another layer turned out to leave its padding to the front."""
        known = len(self.explicit)
        self.margin = dict.fromkeys(self.data, Margin())
        for node in reversed(self.data):
            inside = any(self.margin[node]) or not self.settled.issuperset(parents(node))
            if node in self.windows and any(self.windows[node].padding) and inside:
                self.explicit.add(str(node.target))
            for parent in parents(node):
                if parent not in self.settled:
                    self.margin[parent] = Margin(*map(max, self.margin[parent], self._need(node, parent)))
        return len(self.explicit) > known

    def _need(self, node: fx.Node, parent: fx.Node) -> Margin:
        """Return the margin that ``node`` must find around ``parent``."""
        window = self.windows.get(node)
        if window is None:
            return self.margin[node]
        if any(window.padding) and str(node.target) not in self.explicit:
            return Margin()
        reach = window.reach(self.margin[node], _extent(parent))
        return Margin(*(max(0, side) for side in reach))

    def _may_read_more(self, node: fx.Node, parent: fx.Node, need: Margin) -> bool:
        """Return whether a window answers the same on all of ``parent``: less than a stride at the far sides is left
        over.
        """
        if node not in self.windows:
            return False
        window, has = self.windows[node], self.margin[parent]
        for axis, side in enumerate(_extent(parent)):
            before, after = 2 * axis, 2 * axis + 1
            unread = (side + need[before] + need[after] - window.kernel[axis]) % window.stride[axis]
            if has[before] != need[before] or not 0 <= unread + has[after] - need[after] < window.stride[axis]:
                return False
        return True

    def _move(self, node: fx.Node, need: Margin) -> fx.Node:
        """``node`` with the margin ``need``: padded if it is settled, cropped if it has more."""
        if (node, need) not in self.moved:
            top, bottom, left, right = (wanted - has for wanted, has in zip(need, self.margin[node], strict=True))
            name = next(n for k in itertools.count() if not hasattr(self.body, n := f"{MARK}_{k}"))
            self.body.add_submodule(name, nn.ZeroPad2d((left, right, top, bottom)))
            with self.graph.inserting_after(node):
                moved = self.graph.call_module(name, (node,))
            moved.meta.update(data=True, stage=node.meta["stage"], path=name, shape=None)
            moved.meta[MARK] = True
            self.moved[node, need] = moved
        return self.moved[node, need]


def _extent(node: fx.Node) -> tuple[int, int]:
    height, width = node.meta["shape"][2:]
    return height, width


def _window(node: fx.Node) -> _Window | None:
    """Return the window of a convolution or average pool."""
    layer = module_of(node)
    if not isinstance(layer, Windowed):
        return None
    kernel, stride = _pair(layer.kernel_size), _pair(layer.stride)
    if layer.padding == "valid":
        return _Window(kernel, stride, Margin())
    if layer.padding == "same":
        height, width = (side - 1 for side in kernel)
        return _Window(kernel, stride, Margin(height // 2, height - height // 2, width // 2, width - width // 2))
    down, across = _pair(cast("int | tuple[int, ...]", layer.padding))
    return _Window(kernel, stride, Margin(down, down, across, across))


def _is_extendable(node: fx.Node) -> bool:
    """Return whether the value of ``node`` with a margin follows from its operands' with a margin."""
    if len(node.meta["shape"] or ()) != 4 or any(is_shape_query(user) for user in node.users):
        return False
    layer = module_of(node)
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and layer.dilation == (1, 1)
    if isinstance(layer, nn.AvgPool2d):
        whole = layer.count_include_pad or not any(_pair(layer.padding))
        return whole and not layer.ceil_mode and layer.divisor_override is None
    return isinstance(layer, (nn.BatchNorm2d, *POINTWISE)) or _is_join(node) or _is_arithmetic(node)


def _is_join(node: fx.Node) -> bool:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return node.op == "call_function" and node.target in CONCATENATIONS and axis in (1, -3)


def _is_arithmetic(node: fx.Node) -> bool:
    """Return a sum of maps of one shape, or of a map and a constant, or a multiple of a map; constants are even in
    space.
    """
    if node.op not in {"call_function", "call_method"} or node.target not in SUMS | PRODUCTS or node.kwargs:
        return False
    nodes = [arg for arg in node.args if isinstance(arg, fx.Node)]
    maps = [arg for arg in nodes if arg.meta["data"]]
    constants = [arg.meta["shape"] for arg in nodes if not arg.meta["data"]]
    if any(m.meta["shape"] != node.meta["shape"] for m in maps):
        return False
    if any(shape is None or any(side != 1 for side in shape[-2:]) for shape in constants):
        return False
    divides = node.target in {operator.truediv, torch.div, "div"}
    return node.target in SUMS or (len(maps) == 1 and not (divides and node.args[0] is not maps[0]))


def _keeps_zero(node: fx.Node) -> bool:
    """Return whether the value is zero wherever the operands are, so that padding it is padding them."""
    if isinstance(module_of(node), POINTWISE) or _is_join(node):
        return True
    sums_maps = node.target in SUMS and all(isinstance(arg, fx.Node) and arg.meta["data"] for arg in node.args)
    return _is_arithmetic(node) and (sums_maps or node.target in PRODUCTS)


def _pair(sides: int | tuple[int, ...]) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else (sides[0], sides[1])
