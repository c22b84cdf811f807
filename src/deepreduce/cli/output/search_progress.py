"""Live progress of a search: bars on a terminal, a line per finished job elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ...jobs import JobObserver, Planned
from ...train import Epoch


@contextmanager
def watch(console: Console) -> Iterator[ConsoleObserver]:
    """Yield an observer that shows a search on ``console`` until the block ends."""
    observer = ConsoleObserver(console)
    if not console.is_terminal:
        yield observer
        return
    with Live(console=console, get_renderable=observer.render, refresh_per_second=4, transient=True):
        yield observer


class ConsoleObserver(JobObserver):
    """Keeps what is known of every job and renders it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_at = time.monotonic()
        self._expected = 0
        self._title = "starting"
        self._jobs: dict[str, Planned] = {}
        self._done: set[str] = set()
        self._running: dict[str, Epoch | None] = {}
        self._work_done = 0.0

    def expect(self, jobs: int) -> None:
        """Set the expected number of trainings."""
        self._expected = jobs

    def phase(self, title: str) -> None:
        """A new part begins."""
        self._title = title
        self._say(f"[bold]{escape(title)}[/]")

    def planned(self, job: Planned) -> None:
        """Remember the job; tell if it is done already."""
        self._jobs[job.digest] = job
        if job.done:
            self._done.add(job.digest)
            self._say(f"  {escape(job.name)}: done before")

    def started(self, digest: str) -> None:
        """Show the job as running."""
        if digest in self._jobs and digest not in self._done:
            self._running[digest] = None

    def epoch(self, digest: str, record: Epoch) -> None:
        """Show the job's progress."""
        self._running[digest] = record
        self._work_done += self._jobs[digest].work / self._jobs[digest].epochs

    def ended(self, digest: str, metrics: dict[str, Any]) -> None:
        """Tell the result."""
        self._running.pop(digest, None)
        self._done.add(digest)
        seconds, score = metrics["seconds"], metrics["validation_accuracy"]
        count = f"{len(self._done)}/{max(self._expected, len(self._jobs))}"
        self._say(
            f"  {count}  {escape(self._jobs[digest].name)}: {score:.2f} % in {seconds:.0f} s  [dim]{self._left()}[/]"
        )

    def failed(self, digest: str, error: str) -> None:
        """Tell the failure."""
        self._running.pop(digest, None)
        name = self._jobs[digest].name if digest in self._jobs else digest
        self._say(f"  [red]failed[/] {escape(name)}: {escape(error)}")

    def notice(self, text: str) -> None:
        """Tell the user."""
        self._say(f"[yellow]note:[/] {escape(text)}")

    def render(self) -> Group:
        """Return the live picture: all jobs, then each running one."""
        grid = Table.grid(padding=(0, 2))
        total = max(self._expected, len(self._jobs), 1)
        grid.add_row(
            Text(self._title),
            ProgressBar(total, len(self._done), width=24),
            f"{len(self._done)}/{total} jobs",
            self._left(),
        )
        for digest, record in self._running.items():
            job = self._jobs[digest]
            at = 0 if record is None else record.epoch
            details = "" if record is None else f"loss {record.train_loss:.3f}  {record.validation_accuracy:.2f} %"
            bar = ProgressBar(job.epochs, at, width=24)
            grid.add_row(Text(f"  {job.name}"), bar, f"epoch {at}/{job.epochs}", details)
        return Group(grid)

    def _left(self) -> str:
        """Time left, from the computing done so far; jobs not yet known count as much as the known ones on average."""
        if not self._work_done or not self._jobs:
            return ""
        planned = sum(job.work for digest, job in self._jobs.items() if digest not in self._done)
        current = sum(
            self._jobs[digest].work * record.epoch / self._jobs[digest].epochs
            for digest, record in self._running.items()
            if record is not None
        )
        unknown = max(0, self._expected - len(self._jobs)) * sum(j.work for j in self._jobs.values()) / len(self._jobs)
        rate = self._work_done / (time.monotonic() - self._started_at)
        seconds = (planned - current + unknown) / rate
        return f"{timedelta(seconds=round(seconds))} left" if seconds > 0.5 else ""

    def _say(self, markup: str) -> None:
        self._console.print(markup, highlight=False, soft_wrap=True)
