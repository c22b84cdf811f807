"""The search for the frontier: criticality, candidates, jobs that survive anything."""

from .criticality import criticality, culling_order
from .frontier import Frontier, TrainedNetwork, pareto
from .search import find_frontier

__all__ = ["Frontier", "TrainedNetwork", "criticality", "culling_order", "find_frontier", "pareto"]
