"""Points that other papers published: drawn beside ours where the data set, its size and the count are the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """``relus`` and ``accuracy`` (percent) as ``method``'s authors report them."""

    method: str
    relus: float
    accuracy: float


def published_points(data: str) -> tuple[Point, ...]:
    """Those for the data set ``data``."""
    return ()
