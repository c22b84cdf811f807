"""The networks that the method trains (paper, section 3.5): 2 x D for profiling, 5 x (D - 1) as candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import ModelError
from ..networks.layout import Layout
from ..networks.point import Point, Term


@dataclass(frozen=True)
class Candidate:
    """A point and the step of the method that made it: culled, thinned, channels, resolution or both."""

    step: str
    point: Point


def profiling_points(layout: Layout) -> dict[str, Point]:
    """Return for each ranked stage the network that keeps only its ReLUs (paper, section 3.1).

    Raises `ModelError` for D = 1: with one stage there is nothing to rank, cull or search.
    """
    stages = layout.ranked_stages
    if len(stages) < 2:
        raise ModelError(
            f"the network has too few stages besides the stem (D = {len(stages)}): no candidates",
            "name finer stages by pattern, `stage` NAME=PATTERN, or thin and reshape it yourself",
        )
    return {stage: Point((Term(stage),)) for stage in stages}


def candidates(layout: Layout, order: Sequence[str], alpha: float, rho: float) -> list[Candidate]:
    """Return the five networks of each culling iteration; ``order`` is from least to most critical.

    The stem is culled first and the most critical stage never. A stage with a single ReLU layer cannot be thinned and
    stays whole beside those that are; where no stage can be, there is no thinned network and the culled one is
    reshaped.
    """
    found: list[Candidate] = []
    for culled in range(1, len(order)):
        kept = [stage for stage in layout.ranked_stages if stage in order[culled:]]
        whole = Point(tuple(Term(stage) for stage in kept))
        thinned = whole.with_terms(Term(s, "inner" if len(layout.of(s)) > 1 else None) for s in kept)
        found.append(Candidate("culled", whole))
        if thinned != whole:
            found.append(Candidate("thinned", thinned))
        found.append(Candidate("channels", replace(thinned, alpha=alpha)))
        found.append(Candidate("resolution", replace(thinned, rho=rho)))
        found.append(Candidate("both", replace(thinned, alpha=alpha, rho=rho)))
    return found


def all_trainings(layout: Layout, order: Sequence[str], alpha: float, rho: float) -> list[tuple[Point, bool]]:
    """Return every reduced network that the paper's search trains, once, and whether it is distilled."""
    alone = profiling_points(layout).values()
    found = [(point, False) for point in alone] + [(point, True) for point in alone]
    found += [(candidate.point, True) for candidate in candidates(layout, order, alpha, rho)]
    return list(dict.fromkeys(found))  # the last culled network is a profiling run


def unthinnable(layout: Layout) -> tuple[str, ...]:
    """Return the ranked stages with a single ReLU layer."""
    return tuple(stage for stage in layout.ranked_stages if len(layout.of(stage)) == 1)
