"""Hypervolume of a frontier: the area that it dominates over log10 of ReLUs and accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log10

from ..errors import SettingError

ReluAccuracy = tuple[int, float]


@dataclass(frozen=True)
class Reference:
    """The corner that the area is measured from: the teacher's ReLUs, and the accuracy (percent) without ReLUs.

    ``origin`` says where the accuracy comes from: ``given``, ``trained`` (a network without ReLUs) or ``chance``.
    """

    relus: int
    accuracy: float
    origin: str


def reference_of(
    points: Iterable[ReluAccuracy], teacher_relus: int, classes: int, accuracy: float | None = None
) -> Reference:
    """Return the reference point of a search's ``points``.

    The accuracy without ReLUs is the one given, else that of the best of ``points`` with 0 ReLUs, else chance: 100 /
    classes. Raises `SettingError` for an accuracy that is not a percentage.
    """
    if accuracy is not None:
        if not 0 <= accuracy <= 100:
            raise SettingError(f"accuracy {accuracy:g} is not in [0, 100]", "give percent")
        return Reference(teacher_relus, accuracy, "given")
    trained = [score for relus, score in points if relus == 0]
    if trained:
        return Reference(teacher_relus, max(trained), "trained")
    return Reference(teacher_relus, 100 / classes, "chance")


def hypervolume(points: Sequence[ReluAccuracy], reference: Reference) -> float:
    """Return the area dominated by ``points`` (ReLUs, accuracy in percent): decades of ReLUs times points of accuracy.

    A point dominates what has at least its ReLUs and at most its accuracy. Exact. Points that are no better than the
    reference add nothing, and neither do those without ReLUs, which no logarithm can place.
    """
    area, best = 0.0, reference.accuracy
    inside = sorted((n, -score) for n, score in points if 0 < n < reference.relus and score > reference.accuracy)
    for relus, negative in inside:  # from few ReLUs on, each step up adds a slab as wide as what is left
        score = -negative
        if score > best:
            area += (score - best) * (log10(reference.relus) - log10(relus))
            best = score
    return area
