"""Evaluation of private answers: against the labels, and against the plan's integers in the clear."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

if TYPE_CHECKING:
    from ..inference import Classification


@dataclass(frozen=True, slots=True)
class LabeledFile:
    """A picture of a labeled folder; ``label``: index of its class, None where the folder has no classes."""

    path: Path
    label: int | None


def labeled_files(folder: Path, classes: Sequence[str], limit: int | None = None) -> list[LabeledFile]:
    """Return the pictures of FOLDER/CLASS/*, or of a folder without class folders, without labels.

    ``limit``: this many, spread evenly over all. Raises `DataError` for class folders that the plan does not know.
    """
    from ..inference.client import image_files

    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder", "give a folder with a folder of pictures for each class")
    inside = sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    unknown = [one.name for one in inside if one.name not in classes]
    if unknown:
        raise DataError(
            f"{folder} has folders that are not classes of the plan: {', '.join(unknown[:5])}",
            f"name them after its classes: {', '.join(classes[:10])}{' ...' if len(classes) > 10 else ''}",
        )
    if inside:
        found = [LabeledFile(path, classes.index(one.name)) for one in inside for path in image_files([one])]
    else:
        found = [LabeledFile(path, None) for path in image_files([folder])]
    if limit is not None and limit < len(found):
        found = [found[index * len(found) // limit] for index in range(limit)]
    return found


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Private answers beside labels and the answers in the clear, in one order; None where there is none.

    ``batch``: images of one prediction, which share what it took.
    """

    classes: tuple[str, ...]
    private: list[Classification | None]
    labels: list[int | None]
    clear: list[Classification | None]
    batch: int = 1

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Numbers of images [true class, answered class]."""
        table = np.zeros((len(self.classes), len(self.classes)), np.int64)
        for label, answer in zip(self.labels, self.private, strict=True):
            if label is not None and answer is not None:
                table[label, answer.index] += 1
        return table

    def summary(self) -> dict[str, Any]:
        """Return all of it as JSON: counts, accuracies, agreement, confusion, seconds and bytes of an image."""
        answered = [answer for answer in self.private if answer is not None]
        pairs = [(one, two) for one, two in zip(self.private, self.clear, strict=True) if one and two]
        runs = [answer.run for answer in answered if answer.run is not None]
        labeled = [(a, label) for a, label in zip(self.private, self.labels, strict=True) if a and label is not None]
        clear = [(a, label) for a, label in zip(self.clear, self.labels, strict=True) if a and label is not None]
        return {
            "images": len(self.private),
            "answered": len(answered),
            "accuracy": _share(a.index == label for a, label in labeled),
            "clear_accuracy": _share(a.index == label for a, label in clear),
            "agreement": _share(one.index == two.index for one, two in pairs),
            "equal": _share(np.array_equal(one.logits, two.logits) for one, two in pairs),
            "largest_difference": max((float(np.abs(a.logits - b.logits).max()) for a, b in pairs), default=None),
            "confusion": self.confusion.tolist() if labeled else None,
            "classes": list(self.classes),
            "online_seconds": statistics.median(run.online.seconds for run in runs) / self.batch if runs else None,
            "offline_seconds": statistics.median(run.offline.seconds for run in runs) / self.batch if runs else None,
            "down_bytes": _mean((run.online.received_bytes + run.offline.received_bytes) / self.batch for run in runs),
            "up_bytes": _mean((run.online.sent_bytes + run.offline.sent_bytes) / self.batch for run in runs),
        }


def _share(truths: Any) -> dict[str, int] | None:
    """Return how many of how many; None of none."""
    found = [bool(one) for one in truths]
    return {"count": sum(found), "of": len(found)} if found else None


def _mean(values: Any) -> float | None:
    found = list(values)
    return statistics.mean(found) if found else None
