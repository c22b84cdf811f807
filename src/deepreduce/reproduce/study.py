"""Interface of a study: trainings, and a page made of their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from .comparison import Lookup
from .job_factory import JobFactory
from .latency import LatencyPrediction
from .scale import Scale
from .training import Training


@dataclass(frozen=True)
class Context:
    """Inputs of a page of results. ``command`` and ``date`` are noted in them; without ``figures`` no picture is drawn.

    ``latency`` are predicted seconds by network (`deepreduce.reproduce.latency.key`).
    """

    lab: JobFactory
    lookup: Lookup
    seeds: tuple[int, ...]
    command: str
    date: str
    figures: bool = True
    latency: Mapping[str, LatencyPrediction] = field(default_factory=dict)


class Study(Protocol):
    """A table, a figure, a list of claims."""

    @property
    def name(self) -> str:
        """Name on the command line and in the folder of results."""

    @property
    def title(self) -> str:
        """One line."""

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Trainings of the study, without their teachers."""

    def write(self, results: Path, context: Context) -> list[Path]:
        """Write JSON, Markdown and a picture below ``results``; what was not run is said to be so."""


@runtime_checkable
class Sequel(Protocol):
    """A study of which more follows from what came of its first trainings."""

    def then(self, scale: Scale, lookup: Lookup, seeds: Sequence[int]) -> tuple[Training, ...]:
        """Return what is to be run once the first are recorded."""
