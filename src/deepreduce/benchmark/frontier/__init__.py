"""What joins the halves: points of a frontier exported, run between two processes, and written into frontier.json."""

from .observer import Observer
from .points import Failure, Measured, Outcome, measure_frontier
from .target import Pick, pick

__all__ = ["Failure", "Measured", "Observer", "Outcome", "Pick", "measure_frontier", "pick"]
