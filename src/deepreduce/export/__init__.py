"""From a network to a plan: the one place where torch weights become integers."""

from .export import Exported, export_network, export_point, frontier_data
from .lowering.ir import Lowered, convs
from .lowering.lower import lower
from .merging.merge import merge_ops
from .quantization.quantize import quantize
from .quantization.rescales import with_rescales
from .synthetic import plan_of

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
    "quantize",
    "with_rescales",
]
