"""From a network to a plan: the one place where torch weights become integers."""

from .calibrate import calibrate
from .lower import lower
from .lowered import Lowered, convs
from .merging import merge_ops
from .random import plan_of
from .rescales import with_rescales

__all__ = ["Lowered", "calibrate", "convs", "lower", "merge_ops", "plan_of", "with_rescales"]
