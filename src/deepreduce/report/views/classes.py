"""Errors by class: the chosen network beside the full one, on the validation images that networks are chosen by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import StoreError
from ..formatting import percent, share
from ..reading.records import ClassErrors, ReportedNetwork
from ..reading.search_folder import Search, read_class_errors

#: As many classes are shown at once; the others can be unfolded.
MOST = 20


@dataclass(frozen=True)
class ClassRow:
    """One class: validation images, accuracies in percent, and what most wrong images were taken for (or empty)."""

    name: str
    images: int
    full: float | None
    chosen: float
    taken_for: str
    taken_for_images: int

    @property
    def change(self) -> str:
        """Points of accuracy gained over the full network, with a sign."""
        if self.full is None:
            return ""
        return f"{self.chosen - self.full:+.1f}" if abs(self.chosen - self.full) >= 0.05 else "0"


@dataclass(frozen=True)
class ClassesView:
    """The class with the lowest accuracy first. ``beside_full``: the full network's accuracies are there, too."""

    network: ReportedNetwork
    rows: tuple[ClassRow, ...]
    beside_full: bool

    @property
    def first(self) -> tuple[ClassRow, ...]:
        """Return the rows that are shown at once."""
        return self.rows[:MOST]

    @property
    def rest(self) -> tuple[ClassRow, ...]:
        """Return the others."""
        return self.rows[MOST:]

    @property
    def summary(self) -> str:
        """The classes that lose most, in a sentence."""
        worst = self.rows[0]
        if worst.chosen == 100:
            return "All of them are recognized."
        text = f"“{worst.name}” is recognized worst ({percent(worst.chosen)} of {worst.images} images)"
        lost = [row for row in self.rows if row.full is not None and row.chosen < row.full]
        if not self.beside_full:
            return f"{text}."
        if not lost:
            return f"{text}; no class is recognized worse than by the full network."
        most = min(lost, key=lambda row: row.chosen - (row.full or 0.0))
        return f"{text}; “{most.name}” loses most against the full network ({most.change} points)."


def compute_classes(
    directory: Path, search: Search, choices: tuple[ReportedNetwork | None, ...]
) -> tuple[ClassesView | None, tuple[str, ...]]:
    """Return the view for the first of ``choices`` whose errors were recorded, and the labels of those unreadable."""
    unread: list[str] = []

    def errors(network: ReportedNetwork) -> ClassErrors | None:
        try:
            return read_class_errors(directory, network, len(search.data.classes))
        except (StoreError, OSError, ValueError, RecursionError):
            unread.append(network.label)
            return None

    for network in dict.fromkeys(choices):
        if network is not None and (found := errors(network)) is not None and any(found.images):
            teacher = next((n for n in search.networks if n.role == "teacher"), None)
            full = None if teacher is None or teacher.job == network.job else errors(teacher)
            return ClassesView(network, _rows(search.data.classes, found, full), full is not None), tuple(unread)
    return None, tuple(unread)


def _rows(names: tuple[str, ...], found: ClassErrors, full: ClassErrors | None) -> tuple[ClassRow, ...]:
    rows = []
    for k, name in enumerate(names):
        if not found.images[k]:
            continue
        index = found.taken_for[k]
        rows.append(
            ClassRow(
                name,
                found.images[k],
                None if full is None else share(full.correct[k], full.images[k]),
                share(found.correct[k], found.images[k]),
                "" if index is None else names[index],
                found.taken_for_images[k],
            )
        )
    return tuple(sorted(rows, key=lambda row: (row.chosen, -row.images)))
