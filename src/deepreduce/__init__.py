"""deepreduce: from a network and its data to a Pareto frontier of accuracy against ReLUs, and to private predictions.

The names below load torch when they are first used, so that ``import deepreduce`` alone costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import DeepReduceError
from .version import __version__

if TYPE_CHECKING:
    from .export import export_network, export_point
    from .networks import Network, Profile, count
    from .networks.source import network
    from .reduce import cull, front_padded, keep_blocks, linearize, reduce_to, reshape, thin
    from .search import Frontier, find_frontier

__all__ = [
    "DeepReduceError",
    "Frontier",
    "Network",
    "Profile",
    "__version__",
    "count",
    "cull",
    "export_network",
    "export_point",
    "find_frontier",
    "front_padded",
    "keep_blocks",
    "linearize",
    "network",
    "reduce_to",
    "reshape",
    "thin",
]

_HOME = {
    **dict.fromkeys(("Network", "Profile", "count"), "networks"),
    "network": "networks.source",
    **dict.fromkeys(("export_network", "export_point"), "export"),
    **dict.fromkeys(("cull", "front_padded", "keep_blocks", "linearize", "reduce_to", "reshape", "thin"), "reduce"),
    **dict.fromkeys(("Frontier", "find_frontier"), "search"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'deepreduce' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
