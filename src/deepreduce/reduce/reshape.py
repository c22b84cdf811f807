"""ReLU reshaping: fewer channels (alpha) and smaller images (rho) (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from ..errors import ModelError, SettingError, one_line
from ..networks.network import Network, shrunk_shape
from .front_padding import front_padded, is_front_padded, without_front_padding
from .prune_channels import channel_pruner, freeze, torch_pruning, unfreeze
from .select import refuse_linearized, require_network, restrict


def reshape(model: Network, alpha: float = 1.0, rho: float = 1.0) -> Network:
    """Return a new network with channels scaled by ``alpha`` and each spatial side by ``rho``: ReLUs x alpha x rho^2.

    alpha rebuilds a built-in network at the smaller width (weights are kept where shapes still agree, the others are
    fresh from torch's generator) and prunes any other network along its dependency graph (the channels of largest
    norm are kept with their weights; shortcuts, groups and concatenations stay consistent). rho shrinks the input
    once, before the network. Scales multiply with those the network already has.

    Raises `SettingError` for a scale out of (0, 1] or an image side that would not stay whole, `ModelError` if the
    network cannot work at the new size.
    """
    require_network(model)
    refuse_linearized(model, "reshaped")
    if not 0 < alpha <= 1:
        raise SettingError(f"alpha {alpha:g} is not in (0, 1]", "0.5 halves the channels")
    shrunk_shape(model.input_shape, model.point.rho * rho)
    if is_front_padded(model):  # margins depend on sizes, and the pruner knows no pads
        return front_padded(reshape(without_front_padding(model), alpha, rho))
    result = model
    if alpha != 1:
        result = _rebuilt(model, alpha) if model.rebuild is not None else _pruned(model, alpha)
    if rho != 1:
        result = result.with_body(result.copy_body(), replace(result.point, rho=result.point.rho * rho))
    return result


def _rebuilt(model: Network, alpha: float) -> Network:
    assert model.rebuild is not None
    scale = model.point.alpha * alpha
    fresh = Network.of(model.rebuild(scale), model.input_shape, rebuild=model.rebuild, verify=False)
    fresh.layout = model.layout
    stages = {node.meta["path"]: node.meta["stage"] for node in model.body.graph.nodes}
    for node in fresh.body.graph.nodes:  # the stages of the unreduced network, whatever they were derived from
        node.meta["stage"] = stages.get(node.meta["path"], node.meta["stage"])
    narrow = restrict(fresh, replace(model.point, alpha=1.0, rho=1.0))
    narrow = narrow.with_body(narrow.body, replace(model.point, alpha=scale))
    narrow.train(model.training)
    copy_matching_weights(model.state_dict(), narrow)
    return narrow


def copy_matching_weights(known: Mapping[str, Tensor], target: nn.Module) -> None:
    """Load into ``target`` the tensors of ``known`` whose name and shape agree; the others stay as they are."""
    own = target.state_dict()
    target.load_state_dict(
        {key: known[key] if key in known and known[key].shape == value.shape else value for key, value in own.items()}
    )


def _pruned(model: Network, alpha: float) -> Network:
    importance = torch_pruning().importance.GroupMagnitudeImportance(p=2)
    body = model.copy_body().eval()
    frozen = unfreeze(body)
    try:
        channel_pruner(body, model.body_shape, importance, 1 - alpha).step()
        freeze(body, frozen)
        narrow = model.with_body(body, replace(model.point, alpha=model.point.alpha * alpha)).train(model.training)
    except Exception as error:
        raise _unscalable(alpha, one_line(error)) from error
    if narrow.num_classes != model.num_classes:
        raise _unscalable(alpha, f"it would answer with {narrow.num_classes} of {model.num_classes} classes")
    if narrow.relus >= max(1, model.relus):
        raise _unscalable(alpha, "none of its layers with ReLUs can be pruned")
    return narrow


def _unscalable(alpha: float, reason: str) -> ModelError:
    return ModelError(
        f"the channels of this network cannot be scaled by {alpha:g}: {reason}",
        "its forward must not fix channel counts or use functional weights; or build it narrower in its factory",
    )
