"""Observer of a search: the command line draws it live, a notebook may ignore it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..train.fit import Epoch


@dataclass(frozen=True)
class Planned:
    """A job that the search will need. ``work`` is its share of the computing: MACs of all its passes."""

    digest: str
    name: str
    epochs: int
    work: float
    done: bool


class JobObserver:
    """Hears of everything, in the driver's process, and does nothing: override what is of interest."""

    def expect(self, jobs: int) -> None:
        """Set the number of trainings of the whole search, as far as known."""

    def phase(self, title: str) -> None:
        """A new part of the search begins."""

    def planned(self, job: Planned) -> None:
        """A job became known; it may be done already."""

    def started(self, digest: str) -> None:
        """A worker took the job up."""

    def epoch(self, digest: str, record: Epoch) -> None:
        """The job trained one more epoch."""

    def ended(self, digest: str, metrics: dict[str, Any]) -> None:
        """The job is done."""

    def tested(self, digest: str, metrics: dict[str, Any]) -> None:
        """The finished job's test accuracy was read; ``metrics`` are those of its training."""

    def failed(self, digest: str, error: str) -> None:
        """The job failed; the search goes on."""

    def notice(self, text: str) -> None:
        """Something the user should know."""
