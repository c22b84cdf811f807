"""What identifies a training: its full specification, hashed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from torch import fx

from ..networks.network import Network
from ..train.recipe import Recipe

FORMAT = 2  # raised whenever the same specification would no longer train to the same network


@dataclass(frozen=True)
class JobSpec:
    """One training. ``network`` and ``data`` are digests of content, ``teacher`` the digest of the teacher's job."""

    network: str
    name: str
    point: str
    data: str
    recipe: Recipe
    seed: int
    teacher: str | None = None

    @cached_property
    def digest(self) -> str:
        """Hash of everything that decides the result on one device and thread count; names people gave do not."""
        content = {key: value for key, value in self.to_json().items() if key != "name"}
        content["recipe"] = {key: value for key, value in content["recipe"].items() if key != "name"}
        return hash_json(content)[:24]

    def to_json(self) -> dict[str, Any]:
        """Plain data, format version included."""
        return {"format": FORMAT, **asdict(self)}


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
