"""Identity of a training: its full specification, hashed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from torch import fx

from ..networks.network import Network
from ..reduce.elements.settings import Linearize
from ..reduce.prune_channels import ChannelPruning
from ..train.recipe import Recipe

FORMAT = 3  # raised whenever the same specification would no longer train to the same network


@dataclass(frozen=True)
class JobSpec:
    """One training. ``network`` and ``data`` are digests of content, ``teacher`` and ``start`` those of other jobs.

    The student distills from ``teacher``; its weights begin as those of ``start`` or, with ``recipe.warm_start``, of
    the teacher (`deepreduce.reduce.warm_start`). ``front_padding`` is that of `deepreduce.reduce.reduce_to`. Where
    ``point`` says how many elements are left (``relus=...``), ``elements`` says how the others are removed. With
    ``prune`` the network is that of ``start``, pruned. ``weights`` is the digest of weights that were given: such a
    network is not trained (`deepreduce.jobs.job.adopt`).
    """

    network: str
    name: str
    point: str
    data: str
    recipe: Recipe
    seed: int
    teacher: str | None = None
    start: str | None = None
    front_padding: bool = True
    elements: Linearize | None = None
    prune: ChannelPruning | None = None
    weights: str | None = None

    @cached_property
    def digest(self) -> str:
        """Hash of everything that decides the result on one device and thread count; names people gave do not.

        What has its default value is left out: a setting that a later version adds leaves known results known.
        """
        return hash_json({"format": FORMAT, **_essentials(self)})[:24]

    @property
    def needs(self) -> tuple[str, ...]:
        """The jobs whose weights this one reads."""
        return tuple(dict.fromkeys(digest for digest in (self.teacher, self.start) if digest is not None))

    def to_json(self) -> dict[str, Any]:
        """Plain data, format version included."""
        return {"format": FORMAT, **asdict(self)}


def _essentials(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass without names and without those at their default."""
    content = {}
    for field in fields(value):
        item = getattr(value, field.name)
        if field.name != "name" and (field.default is MISSING or item != field.default):
            content[field.name] = _essentials(item) if is_dataclass(item) else item
    return content


def hash_json(content: Any) -> str:
    """SHA-256 of canonical JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def network_digest(network: Network) -> str:
    """Hash of an unreduced network's graph, layers, stages and initial weights.

    It follows what the network is rather than the text of its source: an edited comment changes nothing, an edit in an
    imported helper does.
    """
    state = hashlib.sha256()
    modules = dict(network.body.named_modules())
    for node in network.body.graph.nodes:
        layer = repr(modules[str(node.target)]) if node.op == "call_module" else _target_name(node)
        state.update(f"{node.name}|{node.op}|{layer}|{node.args}|{node.kwargs}\n".encode())
    state.update(f"{network.input_shape}{network.layout.sites}".encode())
    for name, tensor in network.body.state_dict().items():
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()


def _target_name(node: fx.Node) -> str:
    return str(getattr(node.target, "__qualname__", node.target))
