"""Cost of a network: ReLUs, parameters and multiply-accumulates (MACs), per layer and per stage, for one image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from .network import Network, elements, relu_count
from .tracing.ops import is_shape_query, module_of, op_name

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHTED_FUNCTIONS = {F.conv1d, F.conv2d, F.conv3d, torch.conv2d, F.linear}


@dataclass(frozen=True)
class NetworkCost:
    """ReLUs (ReLU6 twice), parameters and MACs."""

    relus: int = 0
    params: int = 0
    macs: int = 0

    def __add__(self, other: NetworkCost) -> NetworkCost:
        return NetworkCost(self.relus + other.relus, self.params + other.params, self.macs + other.macs)


@dataclass(frozen=True)
class Layer:
    """One operation. ``shape`` is its output for one image, without the batch dimension."""

    name: str
    op: str
    stage: str
    shape: tuple[int, ...]
    cost: NetworkCost


@dataclass(frozen=True)
class Profile:
    """The layers of a network in the order of computation. Layers after the last ReLU count with the last stage."""

    layers: tuple[Layer, ...]
    stage_names: tuple[str, ...]
    notices: tuple[str, ...]

    @property
    def total(self) -> NetworkCost:
        """The whole network's cost."""
        return sum((layer.cost for layer in self.layers), NetworkCost())

    @property
    def stages(self) -> dict[str, NetworkCost]:
        """The cost of each stage, in order."""
        return {
            stage: sum((layer.cost for layer in self.layers if layer.stage == stage), NetworkCost())
            for stage in self.stage_names
        }

    def to_json(self) -> dict[str, Any]:
        """Plain data: ``relus, params, macs, stages`` and ``layers``."""
        return {
            **asdict(self.total),
            "stages": {stage: asdict(cost) for stage, cost in self.stages.items()},
            "layers": [
                {"name": x.name, "op": x.op, "stage": x.stage, "shape": list(x.shape), **asdict(x.cost)}
                for x in self.layers
            ],
        }


def count(network: Network) -> Profile:
    """Count every layer of ``network``. A module called twice has its parameters counted once, its MACs twice."""
    seen: set[str] = set()
    layers = []
    for node in network.body.graph.nodes:
        if node.op in {"placeholder", "output"} or is_shape_query(node) or node.meta["shape"] is None:
            continue
        params = _new_parameters(network.body, node, seen)
        if node.op == "get_attr":
            shape: tuple[int, ...] = node.meta["shape"]
            if not params:
                continue
        else:
            shape = node.meta["shape"][1:]
        cost = NetworkCost(relu_count(node), params, _macs(node))
        layers.append(Layer(node.meta["path"], _op(node), node.meta["stage"], tuple(shape), cost))
    return Profile(tuple(layers), network.layout.stages, network.notices)


def _op(node: fx.Node) -> str:
    return "parameter" if node.op == "get_attr" else op_name(node)


def _new_parameters(body: fx.GraphModule, node: fx.Node, seen: set[str]) -> int:
    """Parameters that ``node`` is the first to use."""
    if node.op == "call_module":
        found = [(f"{node.target}.{name}", p) for name, p in body.get_submodule(str(node.target)).named_parameters()]
    elif node.op == "get_attr":
        name = str(node.target)
        parameters = dict(body.named_parameters())
        found = [(name, parameters[name])] if name in parameters else []
    else:
        return 0
    # Parameters tied under two names are one tensor.
    fresh = {str(id(p)): p.numel() for _, p in found if str(id(p)) not in seen}
    seen |= fresh.keys()
    return sum(fresh.values())


def _macs(node: fx.Node) -> int:
    module = module_of(node)
    if isinstance(module, CONVOLUTIONS):
        return elements(node) * module.in_channels // module.groups * prod(module.kernel_size)
    if isinstance(module, TRANSPOSED):
        source = node.all_input_nodes[0]
        return elements(source) * module.out_channels // module.groups * prod(module.kernel_size)
    if isinstance(module, nn.Linear):
        return elements(node) * module.in_features
    if node.target is F.conv_transpose2d:
        image, weight = node.all_input_nodes[:2]
        return elements(image) * int(prod(weight.meta["shape"][1:]))
    if node.target in WEIGHTED_FUNCTIONS:
        weight = node.all_input_nodes[1]
        return elements(node) * int(prod(weight.meta["shape"][1:]))
    return 0
