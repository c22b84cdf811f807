"""Lowering of a traced network to the plan's ops: structure and real weights; integers come later.

Batch normalization is folded into the convolution before it, an average becomes a sum whose division moves into the
next weights, pads and crops become part of what reads them, and a ReLU6 is one ReLU on each channel and on itself minus
six. Numbers that only calibration can know (shifts, windows, peaks, scales) are zero here, and the Rescales that
accumulators need where a ReLU was removed come later (`rescales.py`): merging may do without them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import fx, nn

from ..errors import ModelError
from ..networks.network import Network
from ..networks.tracing.activations import REMEDY, activation_name, activations_text
from ..networks.tracing.ops import PRODUCTS, SUMS, is_view, module_of, op_name, parents, readers, relu_kind
from ..plan import INPUT, Add, AvgPool, Concat, Flatten, MaxPool, Relu, pack_kept
from ..reduce.elements.linearize import require_chosen
from .builder import NONE, Building, Held, Sides
from .constants import constant, per_channel
from .ir import Array, Lowered

PASS_THROUGH = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
CONCATENATIONS = {torch.cat, torch.concat, torch.concatenate}
WINDOW = ("kernel_size", "stride", "padding")
AVERAGE = nn.AvgPool2d, (*WINDOW, "ceil_mode", "count_include_pad", "divisor_override")
MAXIMUM = nn.MaxPool2d, (*WINDOW, "dilation", "ceil_mode", "return_indices")
POOLS: dict[Any, tuple[type[nn.Module], tuple[str, ...]]] = {
    F.avg_pool2d: AVERAGE,
    F.max_pool2d: MAXIMUM,
    torch.max_pool2d: MAXIMUM,
}
MEANS = {torch.mean, "mean"}
SIX = 6.0
GATES = {"sigmoid", "hardsigmoid", "logsigmoid", "glu"}
NORMALIZATIONS = {"layer_norm", "group_norm", "instance_norm", "rmsnorm", "rms_norm", "normalize"}


def lower(network: Network, kept: Mapping[str, NDArray[np.bool_]] | None = None) -> Lowered:
    """Return the ops of a network as it is after its rewrites. ReLUs that were removed are gone from its graph.

    ``kept`` says for ReLU sites by name which elements of one image [C, H, W] keep theirs; sites without a mask keep
    those of the network's own kept set (`Network.kept_elements`), or all. Raises `ModelError` for an operation that no
    plan has, or a mask that fits no site; `PointError` for gates that were not chosen (``relus=...`` without weights).
    """
    if kept is None:
        require_chosen(network)
    masks = {site: mask.numpy() for site, mask in network.kept_elements().items()} | dict(kept or {})
    if unknown := masks.keys() - network.relu_nodes().keys():
        raise ModelError(
            f"{min(unknown)!r} is not a ReLU of {network.point}", "masks are for sites that are still there"
        )
    lowering = _Lowering(network.body, masks)
    for node in network.body.graph.nodes:
        lowering.add(node)
    return Lowered(network.body_shape, tuple(lowering.plan.ops), lowering.plan.weights)


class _Lowering:
    """One pass over the graph; ``held`` tells where the value of each node is."""

    def __init__(self, body: fx.GraphModule, masks: Mapping[str, NDArray[np.bool_]]) -> None:
        self.body, self.masks = body, masks
        self.plan = Building()
        self.held: dict[fx.Node, Held] = {}

    def add(self, node: fx.Node) -> None:
        module, target = module_of(node) or _pool_of(node), node.target
        if node.op == "output":
            self.plan.settled(self._operand(node), 1.0)
        elif not node.meta["data"]:
            return
        elif node.op == "placeholder":
            self.held[node] = Held(INPUT, _shape(node))
        elif kind := relu_kind(node):
            self._relu(node, kind)
        elif isinstance(module, nn.Conv2d):
            self._conv(node, module)
        elif isinstance(module, nn.Linear):
            held = self.plan.settled(self._operand(node), None)
            self.plan.linear(_name(node), held, _array(module.weight), _bias(module.bias))
            self._hold(node)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            self._batch_norm(node, module)
        elif isinstance(module, PASS_THROUGH):
            self.held[node] = self._operand(node)
        elif isinstance(module, nn.ZeroPad2d | nn.ConstantPad2d) or target is F.pad:
            self._pad(node, module)
        elif isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d) or target is F.adaptive_avg_pool2d:
            self._average(node, module)
        elif target in MEANS:
            self._mean(node)
        elif isinstance(module, nn.MaxPool2d):
            self._max_pool(node, module)
        elif target in SUMS | PRODUCTS:
            self._arithmetic(node)
        elif target in CONCATENATIONS and _axis(node) == 1:
            self._join(node, Concat, [self.held[operand] for operand in _sequence(node)])
        elif is_view(node) and len(node.meta["shape"] or ()) == 2:
            self._flatten(node)
        else:
            raise _refused(node, _remedy(op_name(node)))

    def _operand(self, node: fx.Node) -> Held:
        return self.held[parents(node)[0]]

    def _hold(self, node: fx.Node, name: str = "", gain: float = 1.0, margin: Sides = NONE) -> None:
        """The value of ``node`` is what the op of its name (or of ``name``) computes, but for gain and margin."""
        self.held[node] = Held(name or _name(node), _shape(node), gain, margin)

    def _relu(self, node: fx.Node, kind: str) -> None:
        held = self._operand(node)
        mask = self.masks.get(_name(node))
        if mask is not None and mask.shape != held.shape:
            raise ModelError(f"{_name(node)}: a mask of {mask.shape} for a ReLU of {held.shape}")
        if mask is not None and not mask.any():
            self.held[node] = held
            return
        partial = mask is not None and not mask.all()
        if held.gain < 0:
            held = self.plan.settled(held, 1.0, None)
        if partial or min(held.margin) < 0:  # else the zeros around it stay zeros
            held = self.plan.settled(held)
        if kind == "relu":
            bits = pack_kept(mask) if mask is not None and partial else None
            self.plan.append(Relu(_name(node), (held.name,), 0, 0, 0, bits))
            self._hold(node, "", held.gain, held.margin)
        elif partial:
            raise _refused(node, "a ReLU6 keeps all of its elements or none: give masks for ReLUs only")
        else:
            self._relu6(node, held)

    def _relu6(self, node: fx.Node, held: Held) -> None:
        """relu(x) - relu(x - 6): each channel twice, side by side."""
        name, channels = _name(node), held.shape[0]
        inner, doubled = replace(held, margin=NONE), self.plan.fresh(f"{name}.doubled")
        self.plan.channelwise(doubled, inner, np.ones((2 * channels, 1)), np.tile([0.0, -SIX], channels))
        self.plan.append(Relu(name, (doubled,), 0, 0, 0))
        pairs = Held(name, (2 * channels, *held.shape[1:]))
        clipped = self.plan.fresh(f"{name}.clipped")
        self.plan.channelwise(clipped, pairs, np.tile([1.0, -1.0], (channels, 1)), None)
        self._hold(node, clipped, 1.0, held.margin)

    def _conv(self, node: fx.Node, module: nn.Conv2d) -> None:
        if module.dilation != (1, 1) or module.padding_mode != "zeros":
            raise _refused(node, "convolutions must have dilation 1 and pad with zeros")
        kernel, stride = _pair(module.kernel_size), _pair(module.stride)
        if module.padding == "same":
            down, across = (side - 1 for side in kernel)
            padding = down // 2, down - down // 2, across // 2, across - across // 2
        else:
            padding = _padding((0, 0) if module.padding == "valid" else module.padding)
        weights, bias = _array(module.weight), _bias(module.bias)
        self.plan.conv(_name(node), self._operand(node), weights, bias, stride, padding, module.groups)
        self._hold(node)

    def _batch_norm(self, node: fx.Node, module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        if module.running_mean is None or module.running_var is None:
            raise _refused(node, "batch normalization must keep running statistics")
        ones = torch.ones(module.num_features)
        scale = _array(ones if module.weight is None else module.weight)
        scale = scale / np.sqrt(_array(module.running_var) + module.eps)
        shift = (0 if module.bias is None else _array(module.bias)) - _array(module.running_mean) * scale
        self._affine(node, parents(node)[0], scale, shift)

    def _affine(self, node: fx.Node, before: fx.Node, scale: Array, shift: Array) -> None:
        """A value times ``scale`` [C] plus ``shift`` [C]: in the linear op before it, or by an op of its own."""
        held = self.held[before]
        if held.margin == NONE and self._alone(held.name, node) and self.plan.fold(held.name, scale / held.gain, shift):
            self._hold(node, held.name)
        else:
            self.plan.channelwise(_name(node), held, scale[:, None], shift)
            self._hold(node)

    def _alone(self, name: str, reader: fx.Node) -> bool:
        """Return whether nothing but ``reader`` reads the op ``name``."""
        holding = {node for node, held in self.held.items() if held.name == name}
        return all(user in holding or user is reader for node in holding for user in readers(node))

    def _arithmetic(self, node: fx.Node) -> None:
        """Sums and differences of values, multiples and shifts by constants."""
        if node.kwargs or len(node.args) != 2:
            raise _refused(node, "write sums and products of two operands, without further arguments")
        first, second = cast("tuple[fx.Node, fx.Node]", node.args)  # or a constant, if it is not known
        known = [isinstance(arg, fx.Node) and arg in self.held for arg in node.args]
        product = node.target in PRODUCTS
        inverse = node.target in {operator.sub, torch.sub, "sub", operator.truediv, torch.div, "div"}
        if all(known):
            if product:
                raise _refused(node, "a product of two values is not linear")
            left, right = self.held[first], self.held[second]
            self._join(node, Add, [left, replace(right, gain=-right.gain) if inverse else right])
            return
        before, number = (first, second) if known[0] else (second, first)
        if product and inverse and not known[0]:
            raise _refused(node, "division by a value is not linear")
        factor = per_channel(constant(number), _shape(node))
        if factor is None or _shape(before) != _shape(node):
            raise _refused(node, "a constant must be a number, or one number for each channel")
        ones, zeros = np.ones_like(factor), np.zeros_like(factor)
        if product:
            scale = 1 / factor if inverse else factor
            if scale.any() and np.all(scale == scale[0]):
                held = self.held[before]
                self._hold(node, held.name, held.gain / float(scale[0]), held.margin)
            else:
                self._affine(node, before, scale, zeros)
        elif inverse:
            self._affine(node, before, ones if known[0] else -ones, -factor if known[0] else factor)
        else:
            self._affine(node, before, ones, factor)

    def _join(self, node: fx.Node, kind: type[Add] | type[Concat], values: list[Held]) -> None:
        if kind is Add and any(held.shape != _shape(node) for held in values):
            raise _refused(node, "values of one shape can be added")
        alike = self.plan.alike(values)
        self.plan.append(kind(_name(node), tuple(held.name for held in alike)))
        self._hold(node, "", alike[0].gain, alike[0].margin)

    def _pad(self, node: fx.Node, module: nn.Module | None) -> None:
        if module is None:
            arguments = dict(zip(("input", "pad", "mode", "value"), node.args, strict=False)) | node.kwargs
            sides: Any = arguments["pad"]
            value = arguments.get("value")
            if arguments.get("mode", "constant") != "constant":
                raise _refused(node, "padding must be with zeros")
        else:
            sides, value = module.padding, getattr(module, "value", 0)
        sides = [*sides, 0, 0][:4] if isinstance(sides, list | tuple) and len(sides) in (2, 4) else None
        if value or sides is None or len(_shape(node)) != 3:
            raise _refused(node, "maps can be padded with zeros on their four sides")
        left, right, top, bottom = sides
        held = self._operand(node)
        if any(has < 0 < more for has, more in zip(held.margin, (top, bottom, left, right), strict=True)):
            held = self.plan.settled(held, None)  # zeros where something was cut off
        sums = [has + more for has, more in zip(held.margin, (top, bottom, left, right), strict=True)]
        self._hold(node, held.name, held.gain, (sums[0], sums[1], sums[2], sums[3]))

    def _average(self, node: fx.Node, module: nn.Module | None) -> None:
        height, width = parents(node)[0].meta["shape"][2:]
        if isinstance(module, nn.AvgPool2d):
            kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _padding(module.padding)
            if module.ceil_mode or (any(padding) and not module.count_include_pad) or module.divisor_override:
                raise _refused(node, "average pooling must divide by its whole window, without ceil_mode")
        else:
            out_h, out_w = node.meta["shape"][2:]
            if height % out_h or width % out_w:
                raise _refused(node, f"{height}x{width} does not divide evenly into {out_h}x{out_w}")
            kernel = stride = height // out_h, width // out_w
            padding = NONE
        self._pool(_name(node), node, kernel, stride, padding)
        self._hold(node, "", self._operand(node).gain * prod(kernel))

    def _pool(self, name: str, node: fx.Node, kernel: tuple[int, int], stride: tuple[int, int], padding: Sides) -> None:
        held = self._operand(node)
        if min(held.margin) < 0:
            held = self.plan.settled(held, None)
        top, bottom, left, right = (own + more for own, more in zip(padding, held.margin, strict=True))
        self.plan.append(AvgPool(name, (held.name,), kernel, stride, (top, bottom, left, right)))

    def _mean(self, node: fx.Node) -> None:
        """The mean over both sides of a map: a global average pool, flattened unless the sides are kept."""
        arguments = dict(zip(("input", "dim", "keepdim"), node.args, strict=False)) | node.kwargs
        shape, dims = _shape(parents(node)[0]), arguments.get("dim")
        if len(shape) != 3 or not isinstance(dims, list | tuple) or {int(d) % 4 for d in dims} != {2, 3}:
            raise _refused(node, "a mean must be over the height and the width of maps")
        flat = not arguments.get("keepdim", False)
        pool = self.plan.fresh(f"{_name(node)}.pool") if flat else _name(node)
        kernel = shape[1], shape[2]
        self._pool(pool, node, kernel, kernel, NONE)
        if flat:
            self.plan.append(Flatten(_name(node), (pool,)))
        self._hold(node, "", self._operand(node).gain * prod(kernel))

    def _max_pool(self, node: fx.Node, module: nn.MaxPool2d) -> None:
        if _pair(module.dilation) != (1, 1) or module.return_indices:
            raise _refused(node, "max-pooling must have dilation 1 and no indices")
        held = self._operand(node)
        held = self.plan.settled(held, held.gain if held.gain > 0 else 1.0)
        kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _padding(module.padding)
        if module.ceil_mode:
            padding = _reaching(_shape(parents(node)[0])[1:], _shape(node)[1:], kernel, stride, padding)
        self.plan.append(MaxPool(_name(node), (held.name,), kernel, stride, padding, 0, 0))
        self._hold(node, "", held.gain)

    def _flatten(self, node: fx.Node) -> None:
        before, after = parents(node)[0].meta["shape"], node.meta["shape"]
        if before[0] != after[0] or prod(before) != prod(after):
            raise _refused(node, "only a flattening of each image's values is known")
        held = self.plan.settled(self._operand(node), None)
        if len(before) == len(after):
            self.held[node] = held
        else:
            self.plan.append(Flatten(_name(node), (held.name,)))
            self._hold(node, "", held.gain)


def _pool_of(node: fx.Node) -> nn.Module | None:
    """Return a pool that is called as a function, as the module that does the same."""
    if node.target not in POOLS:
        return None
    kind, names = POOLS[node.target]
    arguments = dict(zip(("input", *names), node.args, strict=False)) | node.kwargs
    return kind(**{name: value for name, value in arguments.items() if name != "input"})


def _reaching(
    inputs: tuple[int, ...], outputs: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int], padding: Sides
) -> Sides:
    """Return the padding whose end is where the last windows end, which ceil_mode lets reach beyond it."""
    top, _, left, _ = padding
    bottom, right = (
        max(0, (count - 1) * step + size - before - side)
        for side, count, size, step, before in zip(inputs, outputs, kernel, stride, (top, left), strict=True)
    )
    return top, bottom, left, right


def _name(node: fx.Node) -> str:
    return str(node.meta["path"])


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["shape"][1:])


def _array(values: torch.Tensor) -> Array:
    return values.detach().to("cpu", torch.float64).numpy().copy()


def _bias(values: torch.Tensor | None) -> Array | None:
    return None if values is None else _array(values)


def _pair(sides: Any) -> tuple[int, int]:
    return (int(sides), int(sides)) if isinstance(sides, int) else (int(sides[0]), int(sides[1]))


def _padding(sides: Any) -> Sides:
    down, across = _pair(sides)
    return down, down, across, across


def _axis(node: fx.Node) -> Any:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return axis % len(node.meta["shape"]) if isinstance(axis, int) else axis


def _sequence(node: fx.Node) -> Any:
    return node.args[0] if node.args else node.kwargs["tensors"]


def _remedy(operation: str) -> str:
    """Return what to do about an operation that no plan has."""
    if operation in GATES:
        return "replace it by a ReLU, or leave it out, and train again: of activations, plans have ReLU and ReLU6"
    if operation.rstrip("123d") in NORMALIZATIONS:
        return "use batch normalization, whose statistics are constants, and train again"
    return "plans have convolutions, linear layers, ReLUs, sums, concatenations and pools"


def _refused(node: fx.Node, hint: str) -> ModelError:
    others = activations_text(node.graph.nodes) if activation_name(node) else ""
    if others:
        return ModelError(f"{_name(node)}: {op_name(node)} cannot be put into a plan; the network has {others}", REMEDY)
    return ModelError(f"{_name(node)}: {op_name(node)} cannot be put into a plan", hint)
