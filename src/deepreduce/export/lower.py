"""From a traced network to the plan's ops: structure only, with the real weights beside it; numbers come later.

Batch normalisation is folded into the convolution before it, an average becomes a sum whose division moves into the
next weights. Numbers that only calibration can know (shifts, windows, peaks, scales) are zero here, and the Rescales
that accumulators need where a ReLU was removed come later (`rescales.py`): merging may do without them.
"""

from __future__ import annotations

import operator
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from ..errors import ModelError
from ..networks.network import Network
from ..networks.ops import is_view, module_of, op_name, parents, readers, relu_kind
from ..plan import INPUT, Add, AvgPool, Concat, Conv, Flatten, Linear, MaxPool, Op, Relu
from .lowered import Array, Lowered

PASS_THROUGH = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def lower(network: Network) -> Lowered:
    """The ops of a network as it is after its rewrites. ReLUs that were removed are gone from its graph.

    Raises `ModelError` for an operation that no plan has.
    """
    lowering = _Lowering(network.body)
    for node in network.body.graph.nodes:
        lowering.add(node)
    return Lowered(network.body_shape, tuple(lowering.ops), lowering.weights)


class _Lowering:
    """One pass over the graph; ``value`` names the op that computes a node, or one that is the same but for a factor.

    The op's value is ``gain`` times the node's: a sum over a window is so many times its mean.
    """

    def __init__(self, body: fx.GraphModule) -> None:
        self.body = body
        self.ops: list[Op] = []
        self.weights: dict[str, tuple[Array, Array]] = {}
        self.value: dict[fx.Node, str] = {}
        self.gain: dict[str, float] = {INPUT: 1.0}

    def add(self, node: fx.Node) -> None:
        module, target = module_of(node), node.target
        if node.op == "placeholder":
            self.value[node] = INPUT
        elif node.op == "output" or not node.meta["data"]:
            return
        elif kind := relu_kind(node):
            if kind != "relu":
                raise _refused(node, "plans have no ReLU6: train with ReLU")
            self._append(node, Relu(_name(node), self._inputs(node), 0, 0, 0))
        elif isinstance(module, nn.Conv2d):
            self._conv(node, module)
        elif isinstance(module, nn.Linear):
            op = Linear(_name(node), self._inputs(node), module.out_features, module.bias is not None, 0, 0)
            self._linear(node, op, _array(module.weight), module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            self._batch_norm(node, module)
        elif isinstance(module, PASS_THROUGH):
            self.value[node] = self.value[parents(node)[0]]
        elif isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d) or target is F.adaptive_avg_pool2d:
            self._average(node, module)
        elif isinstance(module, nn.MaxPool2d):
            self._max_pool(node, module)
        elif target in {operator.add, torch.add, "add"} and len(parents(node)) == 2 and not node.kwargs:
            self._append(node, Add(_name(node), self._inputs(node)))
        elif target in {torch.cat, torch.concat} and _axis(node) == 1:
            self._append(node, Concat(_name(node), self._inputs(node)))
        elif is_view(node) and len(node.meta["shape"]) == 2:
            self._flatten(node)
        else:
            raise _refused(node, "plans have convolutions, linear layers, ReLUs, sums, concatenations and pools")

    def _inputs(self, node: fx.Node) -> tuple[str, ...]:
        return tuple(self.value[parent] for parent in parents(node))

    def _append(self, node: fx.Node, op: Op, gain: float = 1.0) -> None:
        gains = {self.gain[name] for name in op.inputs}
        if len(gains) > 1:
            raise _refused(node, "an average and another value meet: their scales differ; put a convolution between")
        self.ops.append(op)
        self.value[node] = op.name
        self.gain[op.name] = gains.pop() * gain

    def _linear(self, node: fx.Node, op: Conv | Linear, weight: Array, bias: torch.Tensor | None) -> None:
        """A linear op whose weights divide by the gain of its operand."""
        gain = self.gain[op.inputs[0]]
        self._append(node, op, 1 / gain)
        self.weights[op.name] = weight / gain, np.zeros(len(weight)) if bias is None else _array(bias)

    def _conv(self, node: fx.Node, module: nn.Conv2d) -> None:
        if module.dilation != (1, 1) or module.padding_mode != "zeros":
            raise _refused(node, "convolutions must have dilation 1 and pad with zeros")
        kernel, stride = _pair(module.kernel_size), _pair(module.stride)
        if module.padding == "same":
            down, across = (side - 1 for side in kernel)
            padding = down // 2, down - down // 2, across // 2, across - across // 2
        else:
            padding = _padding((0, 0) if module.padding == "valid" else module.padding)
        bias = module.bias is not None
        op = Conv(
            _name(node), self._inputs(node), module.out_channels, kernel, stride, padding, module.groups, bias, 0, 0
        )
        self._linear(node, op, _array(module.weight), module.bias)

    def _batch_norm(self, node: fx.Node, module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        """Into the linear op before it if nothing else reads that, else a 1x1 convolution of its own."""
        if module.running_mean is None or module.running_var is None:
            raise _refused(node, "batch normalisation must keep running statistics")
        ones = torch.ones(module.num_features)
        scale = _array(ones if module.weight is None else module.weight)
        scale = scale / np.sqrt(_array(module.running_var) + module.eps)
        shift = (0 if module.bias is None else _array(module.bias)) - _array(module.running_mean) * scale
        before = parents(node)[0]
        place = next((i for i, op in enumerate(self.ops) if op.name == self.value[before]), None)
        op = None if place is None else self.ops[place]
        if place is not None and isinstance(op, Conv | Linear) and readers(before) == [node]:
            weight, bias = self.weights[op.name]
            self.weights[op.name] = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1)), bias * scale + shift
            self.ops[place] = replace(op, bias=True)
            self.value[node] = op.name
            return
        if len(node.meta["shape"]) != 4:
            raise _refused(node, "batch normalisation of features must follow a linear layer that nothing else reads")
        channels = module.num_features
        own = Conv(_name(node), self._inputs(node), channels, (1, 1), (1, 1), (0,) * 4, channels, True, 0, 0)
        self._linear(node, own, scale.reshape(-1, 1, 1, 1), torch.from_numpy(np.asarray(shift)))

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
            padding = (0,) * 4
        self._append(node, AvgPool(_name(node), self._inputs(node), kernel, stride, padding), float(prod(kernel)))

    def _max_pool(self, node: fx.Node, module: nn.MaxPool2d) -> None:
        if module.ceil_mode or _pair(module.dilation) != (1, 1) or module.return_indices:
            raise _refused(node, "max-pooling must have dilation 1, no ceil_mode and no indices")
        kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _padding(module.padding)
        self._append(node, MaxPool(_name(node), self._inputs(node), kernel, stride, padding, 0, 0))

    def _flatten(self, node: fx.Node) -> None:
        before, after = parents(node)[0].meta["shape"], node.meta["shape"]
        if before[0] != after[0] or prod(before) != prod(after):
            raise _refused(node, "only a flattening of each image's values is known")
        if len(before) == len(after):
            self.value[node] = self.value[parents(node)[0]]
        else:
            self._append(node, Flatten(_name(node), self._inputs(node)))


def _name(node: fx.Node) -> str:
    return str(node.meta["path"])


def _array(values: torch.Tensor) -> Array:
    return values.detach().to("cpu", torch.float64).numpy().copy()


def _pair(sides: Any) -> tuple[int, int]:
    return (int(sides), int(sides)) if isinstance(sides, int) else (int(sides[0]), int(sides[1]))


def _padding(sides: Any) -> tuple[int, int, int, int]:
    down, across = _pair(sides)
    return down, down, across, across


def _axis(node: fx.Node) -> Any:
    return node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)


def _refused(node: fx.Node, hint: str) -> ModelError:
    return ModelError(f"{_name(node)}: {op_name(node)} cannot be put into a plan", hint)
