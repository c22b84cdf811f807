"""``deepreduce bench DIR``: every point of a search's frontier measured in private."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...errors import MissingPackageError
from ...units import show_bytes, show_seconds
from ..output.progress_bar import progress_bar, watcher

if TYPE_CHECKING:
    from ...benchmark import BenchOptions
    from ...benchmark.frontier import FrontierOutcome

INCOMPLETE = 3  # exit code: some points could not be measured


def holds_search(folder: Path) -> bool:
    """Return whether the folder is a search's."""
    return (folder / "frontier.json").is_file() or (folder / "search.json").is_file()


def bench_frontier(
    directory: Path,
    options: BenchOptions,
    networks: list[str],
    points: list[str],
    again: bool,
    console: Console,
    as_json: bool,
) -> None:
    """Measures, shows, and leaves with `INCOMPLETE` if points are missing."""
    try:
        from ...benchmark.frontier import measure_frontier
    except ImportError as error:
        raise MissingPackageError("a search's networks need torch", "pip install 'deepreduce[search]'") from error
    with progress_bar(console) as report:
        observer = watcher(console, report)
        outcome = measure_frontier(directory, options, networks, points, again, observer)
    if as_json:
        typer.echo(json.dumps(_to_json(directory, outcome)))
    else:
        _show(console, directory, outcome)
    if outcome.failed:
        raise typer.Exit(INCOMPLETE)


def _to_json(directory: Path, outcome: FrontierOutcome) -> dict[str, object]:
    points: dict[str, dict[str, object]] = {}
    for done in outcome.measured:
        network = done.network
        point = points.setdefault(
            network.job,
            {
                "name": network.name,
                "job": network.job,
                "relus": network.relus,
                "validation_accuracy": network.validation_accuracy,
                "private": {},
            },
        )
        private = point["private"]
        assert isinstance(private, dict)
        private[done.key] = done.summary.to_json()
    failed = [{"name": failure.name, "job": failure.job, "error": failure.error} for failure in outcome.failed]
    return {"directory": str(directory), "points": list(points.values()), "failed": failed}


def _show(console: Console, directory: Path, outcome: FrontierOutcome) -> None:
    for key in dict.fromkeys(done.key for done in outcome.measured):
        table = Table(title=escape(f"{key}, measured (predicted)"), title_justify="left")
        table.add_column("network", overflow="fold")
        for name in ("val %", "ReLUs", "convs", "online", "offline", "traffic", "rounds"):
            table.add_column(name, justify="right")
        for done in (done for done in outcome.measured if done.key == key):
            summary = done.summary
            table.add_row(
                escape(done.network.name),
                f"{done.network.validation_accuracy:.2f}",
                f"{summary.relus:,}",
                f"{summary.convs_before}\N{RIGHTWARDS ARROW}{summary.convs_after}",
                f"{show_seconds(summary.online_s)} ({show_seconds(summary.predicted_online_s)})",
                f"{show_seconds(summary.offline_s)} ({show_seconds(summary.predicted_offline_s)})",
                show_bytes(summary.online_bytes + summary.offline_bytes),
                str(summary.rounds),
            )
        console.print(table)
    for failure in outcome.failed:
        console.print(f"[red]left out:[/] {escape(failure.name)}: {escape(failure.error)}", soft_wrap=True)
    console.print(f"charts: deepreduce report {escape(shlex.quote(str(directory)))}", highlight=False, soft_wrap=True)
