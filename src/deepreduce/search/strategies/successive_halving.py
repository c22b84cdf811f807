"""Successive halving over a frontier: which networks are worth more training (Jamieson and Talwalkar 2016).

Halving for one number keeps the best half. Here the points of a whole range of ReLUs matter, so "best" is what adds to
the dominated area.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..hypervolume import Reference, ReluAccuracy, hypervolume


def survivors(points: Sequence[ReluAccuracy], count: int, reference: Reference) -> list[int]:
    """Return the indices of ``count`` of ``points`` (ReLUs, accuracy), in their order; all of them where there are no
    more.

    Fronts are taken whole, from the first on: those that nothing beats, then those that only the taken ones beat.
    Of the first front that is too large, points are taken one by one, each time the one that adds the most hypervolume
    to what is taken of this front. A point that beats all others is always among the survivors.
    """
    chosen: list[int] = []
    waiting = list(range(len(points)))
    while waiting and len(chosen) < count:
        front = [i for i in waiting if not any(_beats(points[j], points[i]) for j in waiting)]
        chosen += _most_area(points, front, count - len(chosen), reference)
        waiting = [i for i in waiting if i not in front]
    return sorted(chosen)


def _beats(one: ReluAccuracy, other: ReluAccuracy) -> bool:
    """Return whether ``one`` is at least as good in both and not the same."""
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def _most_area(points: Sequence[ReluAccuracy], front: Sequence[int], count: int, reference: Reference) -> list[int]:
    taken: list[int] = []
    left = list(front)
    while left and len(taken) < count:
        # Of equals (those outside the reference add nothing) the more accurate one, then the first.
        best = max(left, key=lambda i: (hypervolume([points[j] for j in (*taken, i)], reference), points[i][1], -i))
        taken.append(best)
        left.remove(best)
    return taken
