"""Measurement of a frontier: its points are exported, run between two processes, and noted in frontier.json."""

from .observer import FrontierObserver
from .points import FailedPoint, FrontierOutcome, MeasuredPoint, measure_frontier
from .target import Pick, pick

__all__ = ["FailedPoint", "FrontierObserver", "FrontierOutcome", "MeasuredPoint", "Pick", "measure_frontier", "pick"]
