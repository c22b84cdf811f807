"""The search for the frontier: criticality, candidates, jobs that survive anything."""

from .criticality import criticality, culling_order
from .find_frontier import find_frontier
from .frontier import Frontier, TrainedNetwork, pareto

__all__ = ["Frontier", "TrainedNetwork", "criticality", "culling_order", "find_frontier", "pareto"]
