"""Progress of long work, as every part of the package reports it."""

from __future__ import annotations

from collections.abc import Callable

#: Called with what is done, how much of it, and of how much: ``report("prepare", 3, 20)``.
Progress = Callable[[str, int, int], None]


def no_progress(what: str, done: int, total: int) -> None:
    """Report nothing."""
