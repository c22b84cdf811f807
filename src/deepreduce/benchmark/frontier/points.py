"""Measurement of the points of a frontier: each is exported once, run over each link, and summarized in
frontier.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...data import DataLike
from ...errors import DeepReduceError, MissingPackageError, PointError
from ...locks import hold
from ...plan import digest
from ...plan.cost.network_link import parse_link
from ...search.frontier import Frontier, TrainedNetwork
from ..roofline import Rates, measure_rates
from ..run import BenchOptions, bench, check_options
from .observer import FrontierObserver
from .plan_cache import Exporter, PointPlan
from .record import RUNS, RunSummary, network_name, note_summary, run_file, write_run


@dataclass(frozen=True)
class MeasuredPoint:
    """A network's summary for one ``key``, ``<protocol>@<network>``."""

    network: TrainedNetwork
    key: str
    summary: RunSummary


@dataclass(frozen=True)
class FailedPoint:
    """A point that could not be exported or run, and why."""

    name: str
    job: str
    error: str


@dataclass(frozen=True)
class FrontierOutcome:
    """Everything that was asked for: in the frontier's order, then in that of the networks."""

    measured: tuple[MeasuredPoint, ...]
    failed: tuple[FailedPoint, ...]


def measure_frontier(
    directory: Path,
    options: BenchOptions | None = None,
    networks: Sequence[str] = ("none",),
    points: Sequence[str] = (),
    again: bool = False,
    observer: FrontierObserver | None = None,
    data: DataLike | None = None,
) -> FrontierOutcome:
    """Measures the Pareto points and the full network of a finished search (or the named ``points``) on each network.

    ``options.network`` is ignored; ``data`` is the search's, where it cannot be loaded by its name. What is measured
    with the same plan and settings is kept, unless ``again``. A point that fails is left out and the others go on.
    Raises `DeepReduceError` on a folder or settings that cannot be.
    """
    options, observer = options or BenchOptions(), observer or FrontierObserver()
    names = list(dict.fromkeys(map(network_name, networks)))
    for name in names:
        parse_link(name)
    check_options(options)
    with hold(directory / "lock", str(directory), patience_s=2.0):
        frontier = Frontier.load(directory)
        run = _Measuring(frontier, options, again, observer, Exporter(frontier, data))
        for network in chosen(frontier, points):
            run.measure(network, names)
        return FrontierOutcome(tuple(run.measured), tuple(run.failed))


def chosen(frontier: Frontier, points: Sequence[str]) -> list[TrainedNetwork]:
    """Return the named networks; without names the frontier, and the full network before it. Raises `PointError`."""
    if points:
        return [frontier[name] for name in dict.fromkeys(points)]
    on_frontier = list(frontier)
    if not on_frontier:
        raise PointError(f"{frontier.directory} has no network on its frontier", "search again")
    full = [n for n in frontier.networks if n.role == "teacher" and not n.on_frontier]
    return [*full, *on_frontier]


class _Measuring:
    """One run over the points; what is done is written at once."""

    def __init__(
        self, frontier: Frontier, options: BenchOptions, again: bool, observer: FrontierObserver, exporter: Exporter
    ) -> None:
        self.frontier, self.options, self.again, self.observer = frontier, options, again, observer
        self.exporter = exporter
        self.rates: dict[int, Rates] = {}  # by ring bits
        self.measured: list[MeasuredPoint] = []
        self.failed: list[FailedPoint] = []

    def measure(self, network: TrainedNetwork, names: Sequence[str]) -> None:
        try:
            self.observer.progress(f"{network.name}: export", 0, 1)
            plan = self.exporter.plan(network)
            for name in names:
                self._on(network, plan, name)
        except MissingPackageError:  # as true of every other point
            raise
        except DeepReduceError as error:
            self.failed.append(FailedPoint(network.name, network.job, str(error)))
            self.observer.failed(network.name, str(error))

    def _on(self, network: TrainedNetwork, plan: PointPlan, name: str) -> None:
        options = replace(self.options, network=name)
        key = f"{options.protocol}@{name}"  # "auto", too, is one series of points, whatever each of them takes
        summary = None if self.again else self._before(network, key, plan)
        if run_now := summary is None:
            summary = self._run(network, plan, options, key)
        assert summary is not None
        self.measured.append(MeasuredPoint(network, key, summary))
        self.observer.measured(network.name, key, summary, run_now)

    def _before(self, network: TrainedNetwork, key: str, plan: PointPlan) -> RunSummary | None:
        """Return what was measured with this plan and these settings."""
        summary = RunSummary.read(network.private.get(key))
        if summary is None or not (self.frontier.directory / RUNS / summary.run).is_file():
            return None
        settings = (self.options.threads, self.options.batch)
        same = summary.plan == digest(plan.plan) and (summary.threads, summary.batch) == settings
        return summary if same and summary.inferences >= self.options.inferences else None

    def _run(self, network: TrainedNetwork, plan: PointPlan, options: BenchOptions, key: str) -> RunSummary:
        def progress(what: str, done: int, total: int) -> None:
            self.observer.progress(f"{network.name}, {key}: {what}", done, total)

        directory, file = self.frontier.directory, run_file(network.job, options.protocol, options.network)
        bits = plan.plan.ring.ring_bits
        if bits not in self.rates:
            progress("measure the floors", 0, 1)
            self.rates[bits] = measure_rates(bits)
        result = bench(plan.folder, options, progress, self.rates[bits])
        about = {"model": self.frontier.content["settings"]["model"], "point": network.name, "job": network.job}
        write_run(directory, file, {**about, **result})
        summary = RunSummary.of_run(result, file, plan.convs_before, plan.convs_after)
        note_summary(directory, network.job, key, summary)
        return summary
