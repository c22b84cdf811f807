"""Networks whose ReLUs fade instead of being cut: what is trained while a student is annealed to its point."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from torch import fx

from ..networks.network import Network
from ..networks.point import Point, parse_point
from ..networks.tracing.ops import relu_kind
from .annealed_relu import Anneal, AnnealedReLU, Kind
from .build import reduce_to
from .elements.linearize import with_gates
from .front_padding import front_padded, without_front_padding
from .reshape import reshape
from .select import kept_sites


def anneal_to(
    model: Network, point: Point | str, *, front_padding: bool = True, present: Collection[str] | None = None
) -> tuple[Network, Anneal]:
    """Return the network of ``point`` as `reduce_to` makes it, but with each removed ReLU fading, and what sets its c.

    Tensors have the names and shapes of the reduced network, whose weights it takes and which takes its weights. At
    c = 0 both compute the same, bit for bit; at c = 1 it has all ReLUs of ``model``. Margins are those of the reduced
    network: a fading ReLU is pointwise and keeps zeros, so the padding moves through it. Its ReLU count is the reduced
    network's. Where layers are narrower than the model's their weights are fresh, as in `reshape`. Only the sites of
    ``present`` (by name; None: all) fade; other ReLUs that ``point`` lacks are gone from the beginning.

    Raises `PointError` for a name that cannot be read or that asks for more than ``model`` has.
    """
    if isinstance(point, str):
        point = parse_point(point, model.layout.stages)
    reduced = reduce_to(model, point, front_padding=front_padding)
    whole = reshape(without_front_padding(model), point.alpha / model.point.alpha, point.rho / model.point.rho)
    body, fade = whole.copy_body(), Anneal()
    kept = {site.name for site in kept_sites(model.layout, point)}
    removed = [node for node in body.graph.nodes if relu_kind(node) and node.meta["path"] not in kept]
    gone = Anneal(0.0)
    for index, node in enumerate(removed):
        fades = present is None or node.meta["path"] in present
        _replace(body, node, f"fading_{index}", AnnealedReLU(fade if fades else gone, cast(Kind, relu_kind(node))))
    body.graph.lint()
    body.recompile()
    fading = whole.with_body(body, point)
    fading = front_padded(fading) if front_padding and removed else fading
    fading = fading if point.relus is None else with_gates(fading, point.relus)
    fading.load_state_dict(reduced.state_dict())
    return fading, fade


def _replace(body: fx.GraphModule, node: fx.Node, name: str, layer: AnnealedReLU) -> None:
    """Put ``layer`` in the place of a ReLU's node; the new node has its path, stage and shape."""
    body.add_submodule(name, layer)
    with body.graph.inserting_before(node):
        fading = body.graph.call_module(name, (node.args[0],))
    fading.meta.update(node.meta)
    node.replace_all_uses_with(fading)
    body.graph.erase_node(node)
