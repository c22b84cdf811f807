from .observer import FrontierObserver as FrontierObserver
from .points import (
    FailedPoint as FailedPoint,
    FrontierOutcome as FrontierOutcome,
    MeasuredPoint as MeasuredPoint,
    measure_frontier as measure_frontier,
)
from .record import RunSummary as RunSummary
from .target import Pick as Pick, pick as pick
