"""Linearizing: single elements of ReLU layers removed, whatever layers were removed before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ...errors import ModelError, PointError, nearest
from ...networks.masked_relu import MaskedReLU
from ...networks.network import Network, relu_count
from ...networks.tracing.ops import module_of, relu_kind
from ..select import require_network

GATES = "relu_gates"  # where the gates are below a network's body, by the names of the sites' graph nodes


def linearize(model: Network, kept: Mapping[str, Tensor]) -> Network:
    """Return a new network in which only the elements of ``kept`` keep their ReLUs; its name ends in ``relus=...``.

    ``kept`` maps names of ReLU sites to bool [c, h, w] of one image; sites that it does not name keep what they have.
    Weights are copied, ``model`` is unchanged, and kept sets are part of the new one's weights: `MaskedReLU.gate`.

    Raises `ModelError` for an unknown site, a mask that does not fit, or a ReLU6, which is two ReLUs; `PointError` for
    a mask that would bring a removed element back, or if no element is left (cull instead).
    """
    require_network(model)
    if unknown := sorted(kept.keys() - model.relu_nodes().keys()):
        raise ModelError(f"{model.point} has no ReLU {unknown[0]!r}", nearest(unknown[0], model.relu_nodes()))
    network = _gated(model)
    gates = gates_of(network)
    for site, mask in kept.items():
        gate = gates[site]
        if mask.dtype != torch.bool or mask.shape != gate.gate.shape:
            raise ModelError(
                f"{site}: {mask.dtype} {tuple(mask.shape)} is not a mask for a ReLU of {tuple(gate.gate.shape)}",
                "give one bool for each element of one image",
            )
        if bool((mask.to(gate.gate.device) & ~gate.kept).any()):
            raise PointError(f"{site}: some of the mask's elements have no ReLU in {model.point}")
        gate.gate.copy_(mask)
    return _named(network, network.relus)


def with_gates(model: Network, relus: int) -> Network:
    """``model`` as the network that will have ``relus`` elements once weights are loaded or elements removed.

    All gates are one as yet. Raises `PointError` if there are not so many.
    """
    if relus > model.relus:
        raise PointError(f"{model.point} has {model.relus} ReLUs: {relus} cannot be kept", "leave relus=... out")
    return _named(_gated(model), relus)


def require_chosen(network: Network) -> Network:
    """``network``, unless its name tells how many elements are left and its gates do not tell which: `PointError`."""
    if network.point.relus is not None and network.relus != network.point.relus:
        raise PointError(
            f"{network.point} tells how many ReLUs are left, not which",
            "a training chooses them: take that network from the folder of a search with `budgets`",
        )
    return network


def gates_of(network: nn.Module) -> dict[str, MaskedReLU]:
    """Return the gated layers, in the order of computation: by site of a `Network`, by module of any other."""
    if not isinstance(network, Network):
        return {name: module for name, module in network.named_modules() if isinstance(module, MaskedReLU)}
    found = ((site, module_of(node)) for site, node in network.relu_nodes().items())
    return {site: module for site, module in found if isinstance(module, MaskedReLU)}


def _gated(model: Network) -> Network:
    """Return a copy in which every ReLU layer has gates."""
    body = model.copy_body()
    names = {site.name: site.node for site in model.layout.sites}
    for node in list(body.graph.nodes):
        kind, site = relu_kind(node), node.meta["path"]
        if kind is None or isinstance(module_of(node), MaskedReLU):
            continue
        if kind != "relu":
            raise ModelError(f"{site} is a ReLU6, two ReLUs in one", "single elements can be removed from ReLUs only")
        relu_count(node)  # refuses a layer whose elements are not those of one image
        target = f"{GATES}.{names[site]}"
        body.add_submodule(target, MaskedReLU(tuple(node.meta["shape"][1:])))
        node.op, node.target, node.args, node.kwargs = "call_module", target, (node.args[0],), {}
    body.graph.lint()
    body.recompile()
    return model.with_body(body, model.point)


def _named(network: Network, relus: int) -> Network:
    if relus < 1:
        raise PointError("no element keeps its ReLU", "cull the stages instead")
    network.point = replace(network.point, relus=relus)
    return network
