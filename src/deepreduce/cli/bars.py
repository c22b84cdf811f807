"""A bar that follows ``report(what, done, total)``: on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Report = Callable[[str, int, int], None]


@contextmanager
def progress_bar(console: Console) -> Iterator[Report]:
    """The bar, gone when the block ends."""
    if not console.is_terminal:
        yield lambda what, done, total: None
        return
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, refresh_per_second=8) as bars:
        task = bars.add_task("")
        shown = ""

        def report(what: str, done: int, total: int) -> None:
            nonlocal shown
            if what != shown:
                bars.reset(task)
                shown = what
            bars.update(task, description=escape(what), completed=done, total=total)

        yield report
