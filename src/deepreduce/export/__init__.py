"""From a network to a plan: the one place where torch weights become integers."""

from .calibrate import calibrate
from .lower import Lowered, lower
from .random import plan_of

__all__ = ["Lowered", "calibrate", "lower", "plan_of"]
