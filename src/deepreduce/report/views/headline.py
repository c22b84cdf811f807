"""The search in one sentence and four numbers, honest about what one run on this many images can tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..formatting import change, percent, times_fewer, whole
from ..reading.records import ReportedNetwork
from ..reading.search_folder import Search
from .frontier import accuracy, drawable

#: The accuracy (points of validation accuracy) that the headline's network may lose.
LOSS_ALLOWED = 1.0


@dataclass(frozen=True)
class Headline:
    """``summary`` and ``caution`` are sentences; ``pick`` is the network the summary speaks of."""

    summary: str
    caution: str
    full_relus: int
    teacher: ReportedNetwork | None
    best: ReportedNetwork | None
    pick: ReportedNetwork | None


def compute_headline(search: Search) -> Headline:
    """Choose the network worth a headline and say what it costs."""
    teacher = next((n for n in search.networks if n.role == "teacher"), None)
    reduced = [n for n in search.networks if n.on_frontier and n.role != "teacher" and drawable(n)]
    best = max(reduced, key=lambda n: (accuracy(n), -n.relus), default=None)
    pick = _pick(teacher, reduced, best)
    return Headline(
        summary=_summary(search, teacher, pick),
        caution=_caution(search, best),
        full_relus=search.profile.relus,
        teacher=teacher,
        best=best,
        pick=pick,
    )


def _pick(
    teacher: ReportedNetwork | None, reduced: list[ReportedNetwork], best: ReportedNetwork | None
) -> ReportedNetwork | None:
    """Return the smallest frontier network within `LOSS_ALLOWED` of the full one; the most accurate when none is."""
    if teacher is None or teacher.validation_accuracy is None:
        return best
    floor = teacher.validation_accuracy - LOSS_ALLOWED
    return min((n for n in reduced if accuracy(n) >= floor), key=lambda n: n.relus, default=best)


def _summary(search: Search, teacher: ReportedNetwork | None, pick: ReportedNetwork | None) -> str:
    full = whole(search.profile.relus)
    if pick is None:
        return f"The full network has {full} ReLUs; no reduced network has been measured yet."
    fewer = f"{pick.label} has {times_fewer(search.profile.relus, pick.relus)} fewer ReLUs than the full network "
    fewer += f"({whole(pick.relus)} instead of {full})"
    if teacher is None or teacher.validation_accuracy is None:
        return f"{fewer} and reaches {percent(pick.validation_accuracy)} validation accuracy; " + (
            "the full network has not been measured yet."
        )
    loss = f"{change(accuracy(pick) - teacher.validation_accuracy)} of validation accuracy"
    text = f"{fewer} and {loss} ({percent(pick.validation_accuracy)} against {percent(teacher.validation_accuracy)})"
    if pick.test_accuracy is not None and teacher.test_accuracy is not None:
        text += f"; on the test images it {change(pick.test_accuracy - teacher.test_accuracy)}"
        text += f" ({percent(pick.test_accuracy)} against {percent(teacher.test_accuracy)})"
    return f"{text}."


def _caution(search: Search, best: ReportedNetwork | None) -> str:
    """Return how far chance alone moves an accuracy: the binomial standard error at the best network."""
    text = "Every network was trained once, and the frontier was chosen by validation accuracy."
    if best is None:
        return text
    parts = []
    for name, value, images in (
        ("validation", best.validation_accuracy, search.data.validation),
        ("test", best.test_accuracy, search.data.test),
    ):
        if value is not None and images:
            if value in (0, 100):  # as if two more images were right and two wrong (Agresti and Coull, 1998)
                value = 100 * (value / 100 * images + 2) / (images + 4)
            error = math.sqrt(value * (100 - value) / images)
            parts.append(f"±{error:.2f} points on {whole(images)} {name} images")
    return f"{text} One standard error is {' and '.join(parts)}: smaller differences mean little." if parts else text
