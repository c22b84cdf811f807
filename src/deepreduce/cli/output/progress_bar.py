"""A progress bar for work that reports ``(what, done, total)``, and lines for measured points: on a terminal only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...progress import Progress, no_progress
from ...units import show_seconds

if TYPE_CHECKING:
    from rich.console import Console

    from ...benchmark.frontier import FrontierObserver, RunSummary


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """Yield the bar, gone when the block ends."""
    if not console.is_terminal:
        yield no_progress
        return
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bars, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True, refresh_per_second=8) as bars:
        task = bars.add_task("")
        shown = ""

        def report(what: str, done: int, total: int) -> None:
            nonlocal shown
            if what != shown:
                bars.reset(task)
                shown = what
            bars.update(task, description=escape(what), completed=done, total=total)

        yield report


def watcher(console: Console, report: Progress) -> FrontierObserver:
    """Return an observer that moves a bar and says a line for each point."""
    from rich.markup import escape

    from ...benchmark.frontier import FrontierObserver

    class Watcher(FrontierObserver):
        def progress(self, what: str, done: int, total: int) -> None:
            report(what, done, total)

        def measured(self, name: str, key: str, summary: RunSummary, again: bool) -> None:
            text = f"{name}, {key}: online {show_seconds(summary.online_s)}, offline {show_seconds(summary.offline_s)}"
            console.print(
                f"  {escape(text)}{'' if again else '  [dim](measured before)[/]'}", highlight=False, soft_wrap=True
            )

        def failed(self, name: str, error: str) -> None:
            console.print(f"  [red]left out[/] {escape(name)}: {escape(error)}", highlight=False, soft_wrap=True)

    return Watcher()
