"""Which ReLU layers a point keeps, and the network that has only those."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import ModelError, PointError, nearest
from ..networks.layout import Layout, ReluSite
from ..networks.network import Network
from ..networks.point import Phase, Point, Term
from ..networks.tracing.ops import REMOVED
from ..units import show_count
from .front_padding import front_padded, is_front_padded, without_front_padding


def kept_sites(layout: Layout, point: Point) -> tuple[ReluSite, ...]:
    """Return the sites of ``layout`` that keep their ReLUs at ``point``, in order.

    Raises `PointError` for a stage that is unknown, has too few ReLU layers to thin, or too few blocks.
    """
    kept: set[ReluSite] = set()
    for term in point.terms:
        if term.stage not in layout.stages:
            raise PointError(f"the network has no stage {term.stage!r}", nearest(term.stage, layout.stages))
        sites = layout.of(term.stage)
        chosen = set(sites)
        if term.phase is not None:
            chosen &= set(_alternate(term, sites))
        if term.blocks is not None:
            chosen &= set(_last_blocks(term, sites))
        if not chosen:
            raise PointError(f"{term} keeps no ReLU layer", f"leave {term.stage} out to cull it")
        kept |= chosen
    return tuple(site for site in layout.sites if site in kept)


def _alternate(term: Term, sites: Sequence[ReluSite]) -> list[ReluSite]:
    if len(sites) < 2:
        raise PointError(
            f"stage {term.stage} has a single ReLU layer ({sites[0].name}) and cannot be thinned",
            "keep it whole or cull it",
        )
    offset = {"inner": 0, "outer": 1}[term.phase or "inner"]
    blocks = [[site for site in sites if site.block == block] for block in dict.fromkeys(s.block for s in sites)]
    if min(map(len, blocks)) < 2:  # blocks of one ReLU layer: alternate over the stage as a whole
        blocks = [list(sites)]
    return [site for block in blocks for site in block[::-1][offset::2]]


def _last_blocks(term: Term, sites: Sequence[ReluSite]) -> list[ReluSite]:
    blocks = 1 + max(site.block for site in sites)
    assert term.blocks is not None
    if term.blocks >= blocks:
        raise PointError(
            f"stage {term.stage} has {show_count(blocks, 'block')}: {term} drops none", "name it without the star"
        )
    return [site for site in sites if site.block >= blocks - term.blocks]


def restrict(network: Network, point: Point) -> Network:
    """Return a new network that keeps only the ReLUs of ``point``; weights are copied, shapes unchanged.

    Where ``network`` is front padded, so is the new one.

    ``point`` must have the network's own alpha and rho. Raises `PointError` if it would bring a removed ReLU back.
    """
    refuse_linearized(network, f"made into {point}")
    keep = {site.name for site in kept_sites(network.layout, point)}
    present = network.relu_nodes()
    if missing := [name for name in keep if name not in present]:
        raise PointError(f"{network.point} has no ReLU {missing[0]!r} left: {point} cannot be made from it")
    if is_front_padded(network):
        return front_padded(restrict(without_front_padding(network), point))
    body = network.copy_body()
    for node in list(body.graph.nodes):
        if node.meta["path"] in present.keys() - keep:
            gone = (*node.meta.get(REMOVED, ()), node.meta["path"])
            node.args[0].meta[REMOVED] = (*node.args[0].meta.get(REMOVED, ()), *gone)
            node.replace_all_uses_with(node.args[0])
            body.graph.erase_node(node)
    body.graph.lint()
    body.recompile()
    return network.with_body(body, point)


def with_terms(network: Network, stages: Iterable[str], phase: Phase | None, blocks: int | None) -> Network:
    """``network`` with ``phase`` or ``blocks`` set on the terms of ``stages``, whatever else they already have."""
    wanted = require_stages(network, stages)
    terms = []
    for term in network.point.terms:
        if term.stage in wanted:
            term = Term(term.stage, phase or term.phase, blocks if blocks is not None else term.blocks)
        terms.append(term)
    return restrict(network, network.point.with_terms(terms))


def require_stages(network: Network, stages: Iterable[str]) -> set[str]:
    """``stages`` as a set, each of them still keeping ReLUs in ``network``; else `PointError`."""
    require_network(network)
    if isinstance(stages, str):
        stages = {stages}
    wanted = set(stages)
    for stage in sorted(wanted):
        if stage not in network.layout.stages:
            raise PointError(f"the network has no stage {stage!r}", nearest(stage, network.layout.stages))
        if stage not in network.point.stages:
            raise PointError(f"stage {stage} has no ReLUs left in {network.point}")
    return wanted


def require_network(network: object) -> None:
    """Refuse a plain module, of which neither the input size nor the stages are known."""
    if not isinstance(network, Network):
        raise ModelError(
            f"{type(network).__name__} is not a traced network",
            "make one with deepreduce.network(model, input_shape=(3, 32, 32))",
        )


def refuse_linearized(model: Network, what: str) -> None:
    """Whole layers go first: after that, a kept set would fit no site."""
    if model.point.relus is not None:
        raise PointError(f"{model.point} cannot be {what}: single elements were removed already", "do that before")
