"""Progress events of the measurement of a frontier."""

from __future__ import annotations

from .record import RunSummary


class FrontierObserver:
    """Does nothing; override what is of interest."""

    def progress(self, what: str, done: int, total: int) -> None:
        """A step of the point that is worked on."""

    def measured(self, name: str, key: str, summary: RunSummary, again: bool) -> None:
        """A point's summary is there; ``again``: it was run now, not before."""

    def failed(self, name: str, error: str) -> None:
        """A point is left out."""
