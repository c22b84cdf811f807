"""From a network to a plan: the one place where torch weights become integers."""

from .export import Exported, export_network, export_point, frontier_data
from .lower import lower
from .lowered import Lowered, convs
from .merging import merge_ops
from .quantise import quantise
from .random import plan_of
from .rescales import with_rescales

__all__ = [
    "Exported",
    "Lowered",
    "convs",
    "export_network",
    "export_point",
    "frontier_data",
    "lower",
    "merge_ops",
    "plan_of",
    "quantise",
    "with_rescales",
]
