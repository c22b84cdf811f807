"""Table of the paper: rows of trainings, and the printed numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .training import Training

WITHOUT = "without KD"
WITH = "with KD"
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Cell:
    """One training under a heading. ``paper`` is the accuracy that is printed for it, in percent."""

    column: str
    training: Training
    paper: float | None = None


@dataclass(frozen=True)
class Row:
    """One network as the paper labels it.

    ``relus`` and ``macs`` are the counts as printed (``229.38K``); ``latency_s`` is the printed time of an inference.
    ``group`` is the heading that the row stands under, ``stage`` the one whose ReLUs are kept where the row takes part
    in a `Ranking`, ``criticality`` its printed C_k. ``differs`` says why our count is another than the printed one.
    """

    label: str
    cells: tuple[Cell, ...]
    relus: str = ""
    group: str = ""
    macs: str = ""
    latency_s: float | None = None
    stage: str = ""
    criticality: float | None = None
    differs: str = ""
    note: str = ""

    @property
    def training(self) -> Training | None:
        """Any of its trainings: they are of one network."""
        return self.cells[0].training if self.cells else None


@dataclass(frozen=True)
class Ranking:
    """The stages of ``group`` in the paper's order, from least to most critical by C_k (Equation 1)."""

    group: str
    paper: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of the paper, or a figure that draws one. ``notes`` say what its numbers contradict, and what is ours."""

    name: str
    title: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    picture: Literal["accuracies", "frontier"] = "accuracies"

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Every training it shows, each once, in the order of the rows."""
        return tuple(dict.fromkeys(cell.training for row in self.rows for cell in row.cells))


def both(
    training: Training, without: float | None, distilled: float | None, teacher: Training | None = None
) -> tuple[Cell, ...]:
    """Return the cells of one network trained without and with distillation; a number that is not printed is None."""
    return (Cell(WITHOUT, training, without), Cell(WITH, training.distilled(teacher), distilled))


def printed_count(text: str) -> tuple[float, float]:
    """Return a printed count such as ``229.38K`` and how far a correct one may be from it.

    That is one unit of its last digit (the paper cuts off as often as it rounds) or 0.1 %, since some of its counts are
    multiples of rounded ones.
    """
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?([KM]?)", text)
    assert match is not None, text
    unit = {"": 1.0, "K": 1e3, "M": 1e6}[match[3]]
    value = float(text.rstrip("KM")) * unit
    return value, max(unit * 10 ** -len(match[2] or ""), 0.001 * value)


def agrees(counted: int, printed: str) -> bool:
    """Return whether ``counted`` is what the paper prints."""
    value, tolerance = printed_count(printed)
    return abs(counted - value) <= tolerance


def groups(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows by their heading, in order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    return found
