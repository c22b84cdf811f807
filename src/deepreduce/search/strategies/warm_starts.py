"""Warm starts of short trainings: the trained network whose weights fit and whose function is nearest."""

from __future__ import annotations

from collections.abc import Sequence

from ..candidates import Candidate


def parents(found: Sequence[Candidate]) -> list[int | None]:
    """Return for each of ``found``, in the method's order, the index of the candidate it starts from; None: the
    teacher.

    A thinned network starts from the culled one, the one of half the resolution from the thinned one: each lacks a
    little more. Scaled channels are some of the teacher's, which by themselves compute something else (`roots`): the
    first network that has them starts there, those of the next culling iterations from that of the iteration before,
    and the one that is smaller too from the one that is only narrower.
    """
    result: list[int | None] = []
    latest: dict[str, int] = {}  # the last network of each step
    for index, candidate in enumerate(found):
        if candidate.step == "culled":
            latest = {step: i for step, i in latest.items() if step == "channels"}
        sources = _SOURCES[candidate.step]
        result.append(next((latest[step] for step in sources if step in latest), None))
        latest[candidate.step] = index
    return result


def roots(found: Sequence[Candidate], origins: Sequence[int | None]) -> set[int]:
    """Return the candidates that begin with a part of the teacher's channels, and have most to learn."""
    return {i for i, origin in enumerate(origins) if origin is None and found[i].point.alpha != 1}


_SOURCES: dict[str, tuple[str, ...]] = {
    "culled": (),
    "thinned": ("culled",),
    "channels": ("channels",),
    "resolution": ("thinned", "culled"),
    "both": ("channels",),
}
