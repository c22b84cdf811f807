"""Points that other papers published: drawn beside ours where the data set, its size and the counts are the same."""

from __future__ import annotations

from dataclasses import dataclass

from ..report.published import published_on

OURS_TO_RUN = "DeepReDuce"  # its points are the tables' own


@dataclass(frozen=True)
class Point:
    """``relus`` and ``accuracy`` (percent) as ``method``'s authors report them."""

    method: str
    relus: float
    accuracy: float


def published_points(data: str) -> tuple[Point, ...]:
    """Those of other methods for the data set ``data``."""
    return tuple(
        Point(f"{method.name} {method.year}", point.place, point.accuracy)
        for method in published_on(data)
        if method.name != OURS_TO_RUN
        for point in method.points
    )
