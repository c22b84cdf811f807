"""Layout of a network's ReLUs: sites, the blocks and stages they belong to (paper, section 2.1)."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from torch import fx

from ..errors import ModelError, SettingError
from .tracing.activations import REMEDY, activations_text
from .tracing.ops import is_merge, module_of, op_name, parents, readers, relu_kind

STEM = "stem"
RESERVED = ("full", "none")  # what points call the unreduced network and the one without ReLUs
STAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class ReluSite:
    """One ReLU layer: one call, whether or not its module is shared with other calls.

    ``block`` numbers the residual blocks of its stage from 0; ``after_merge`` tells a ReLU behind an addition or
    concatenation (normalization between them allowed) from one inside a block.
    """

    name: str
    node: str
    stage: str
    block: int
    after_merge: bool


@dataclass(frozen=True)
class Layout:
    """Every ReLU site of the unreduced network in the order of computation."""

    sites: tuple[ReluSite, ...]

    @property
    def stages(self) -> tuple[str, ...]:
        """All stage names, ``stem`` included, in order."""
        return tuple(dict.fromkeys(site.stage for site in self.sites))

    @property
    def ranked_stages(self) -> tuple[str, ...]:
        """The D stages that criticality ranks: all but the stem."""
        return tuple(stage for stage in self.stages if stage != STEM)

    def of(self, stage: str) -> tuple[ReluSite, ...]:
        """Return the sites of ``stage`` in order."""
        return tuple(site for site in self.sites if site.stage == stage)


def name_nodes(graph: fx.Graph) -> None:
    """Give every node a unique dotted name in ``meta["path"]``: its module, or the enclosing one and the operation.

    The second call of one module (or of one function in one module) is suffixed ``_1``, the third ``_2``, unless
    something else is called that. Names are given once, so that what a rewrite leaves keeps its name.
    """
    paths = {n: str(n.target) if n.op == "call_module" else _scope(n, op_name(n)) for n in graph.nodes}
    taken = set(paths.values())
    calls: Counter[str] = Counter()
    for node, path in paths.items():
        numbered = (f"{path}_{k}" for k in itertools.count(calls[path]))
        name = next(n for n in numbered if n not in taken) if calls[path] else path
        calls[path] += 1
        taken.add(name)
        node.meta["path"] = name


def _scope(node: fx.Node, operation: str) -> str:
    stack = [path.split("@")[0] for path in node.meta.get("nn_module_stack", {})]
    inner = stack[-1] if stack else ""
    if node.meta.get("from_module"):  # a ReLU module, rewritten as a function: its own path is its name
        return inner
    return f"{inner}.{operation}" if inner else operation


def find_layout(body: fx.GraphModule, patterns: Mapping[str, str] | None = None) -> Layout:
    """Find the ReLU sites of a traced graph (with shapes) and group them into stages.

    A stage is a maximal run of equal spatial resolution; a gate that pools to 1x1 and comes back does not end it. In a
    network with merges, the ReLUs before the first
    branching form the stage ``stem``. ``patterns`` (stage name -> shell pattern over site names, comma-separated
    alternatives) replaces this grouping; each site must match exactly one stage.

    Raises `ModelError` if there is no ReLU, `SettingError` if the patterns do not partition the sites.
    """
    name_nodes(body.graph)
    relus = [node for node in body.graph.nodes if relu_kind(node)]
    if not relus:
        if others := activations_text(body.graph.nodes):
            raise ModelError(f"the network has no ReLU, but {others}", REMEDY)
        raise ModelError("the network has no ReLU", "there is nothing to reduce; ReLU and ReLU6 are recognized")
    merges = _merges_before(body.graph)
    sites = [
        ReluSite(node.meta["path"], node.name, "", block=merges[node], after_merge=_feeding_merge(node) is not None)
        for node in relus
    ]
    stages = _stages_by_pattern(sites, patterns) if patterns else _stages_by_resolution(body.graph, relus)
    sites = [replace(site, stage=stage) for site, stage in zip(sites, stages, strict=True)]
    _mark_stages(body.graph, dict(zip(relus, stages, strict=True)))
    return Layout(_number_blocks(sites))


def _mark_stages(graph: fx.Graph, stage_of: Mapping[fx.Node, str]) -> None:
    """Write each node's stage, that of the first ReLU at or after it (after the last: the last), into its ``meta``."""
    stage = ""
    for node in reversed(graph.nodes):
        stage = stage_of.get(node, stage)
        node.meta["stage"] = stage
    for node in graph.nodes:
        stage = node.meta["stage"] = node.meta["stage"] or stage


def _stages_by_resolution(graph: fx.Graph, relus: list[fx.Node]) -> list[str]:
    stem = _before_first_branching(graph, relus)
    stages: list[str] = [STEM] * stem
    number = 0
    previous: tuple[int, ...] | None = None
    resolutions = [tuple(node.meta["shape"][2:]) for node in relus[stem:]]
    for index, resolution in enumerate(resolutions):
        gate = prod(resolution) == 1 and any(prod(later) > 1 for later in resolutions[index:])
        if gate and previous is not None:  # squeeze-and-excitation: a detour inside its stage
            resolution = previous
        number += resolution != previous
        previous = resolution
        stages.append(f"S{number}")
    return stages


def _before_first_branching(graph: fx.Graph, relus: list[fx.Node]) -> int:
    """Return how many ReLUs come before (or are) the first node that two others read; 0 in a network without merges."""
    if not any(is_merge(node) for node in graph.nodes):
        return 0
    position = {node: index for index, node in enumerate(graph.nodes)}
    branching = next((n for n in graph.nodes if n.op != "get_attr" and len(readers(n)) > 1), None)
    if branching is None:
        return 0
    return sum(position[node] <= position[branching] for node in relus)


def _stages_by_pattern(sites: list[ReluSite], patterns: Mapping[str, str]) -> list[str]:
    for stage in patterns:
        if stage in RESERVED:
            raise SettingError(f"no stage can be named {stage!r}", f"{' and '.join(RESERVED)} name whole networks")
        if not STAGE_NAME.fullmatch(stage):
            raise SettingError(f"stage name {stage!r} is not a letter followed by letters, digits or _")
    chosen: list[str] = []
    for site in sites:
        matching = [
            stage
            for stage, pattern in patterns.items()
            if any(fnmatch.fnmatchcase(site.name, p.strip()) for p in pattern.split(","))
        ]
        if len(matching) != 1:
            found = f"the stages {', '.join(matching)}" if matching else "no stage"
            raise SettingError(f"the ReLU {site.name!r} matches {found}", "each ReLU must match exactly one `stage`")
        chosen.append(matching[0])
    if unused := sorted(set(patterns) - set(chosen)):
        known = ", ".join(site.name for site in sites[:4])
        raise SettingError(f"no ReLU matches stage {unused[0]}={patterns[unused[0]]}", f"ReLUs are named like {known}")
    return chosen


def _feeding_merge(node: fx.Node) -> fx.Node | None:
    """Return the merge whose result ``node`` activates, looking through normalization, if any."""
    feeding = parents(node)[0]
    while op_name(feeding).startswith("batch_norm") and module_of(feeding) is not None:
        feeding = parents(feeding)[0]
    return feeding if is_merge(feeding) else None


def _merges_before(graph: fx.Graph) -> dict[fx.Node, int]:
    """Return for each node the number of merges before it; the merge that feeds a ReLU still belongs to the ReLU's
    block.
    """
    count = 0
    before: dict[fx.Node, int] = {}
    for node in graph.nodes:
        before[node] = count - bool(relu_kind(node) and _feeding_merge(node) is not None)
        count += is_merge(node)
    return before


def _number_blocks(sites: list[ReluSite]) -> tuple[ReluSite, ...]:
    """Renumber the blocks of each stage from 0."""
    seen: dict[str, dict[int, int]] = {}
    numbered = []
    for site in sites:
        blocks = seen.setdefault(site.stage, {})
        numbered.append(replace(site, block=blocks.setdefault(site.block, len(blocks))))
    return tuple(numbered)
