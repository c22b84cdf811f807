"""The trainings of one search: planned as jobs, run, and turned into the frontier's records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import DeepReduceError
from ..jobs.executors import Executor
from ..jobs.job import Job, Origin
from ..jobs.observer import JobObserver, Planned
from ..jobs.runner import Runner
from ..jobs.spec import JobSpec
from ..jobs.workspace import Workspace
from ..networks.counting import NetworkCost
from ..networks.point import Point
from .compute import Spending
from .config import SearchConfig
from .frontier import TrainedNetwork


@dataclass(frozen=True)
class Entry:
    """A training: its role and step (`TrainedNetwork`), its job, and what its network costs.

    ``work`` is in MACs. ``rung`` counts how often the network's training went on; 0 where it does not.
    """

    role: str
    step: str
    point: Point
    spec: JobSpec
    cost: NetworkCost
    work: int
    rung: int = 0

    @property
    def digest(self) -> str:
        """The job's."""
        return self.spec.digest


class Trainings:
    """Entries by digest, in the order in which they were planned; notices for the user; what failed (``runner``).

    Candidates of the steps ``left_out`` are not planned.
    """

    def __init__(
        self,
        method: SearchConfig,
        space: Workspace,
        executor: Executor,
        observer: JobObserver,
        left_out: Collection[str] = (),
    ) -> None:
        self.method = method
        self.left_out = left_out
        self.space = space
        self.observer = observer
        self.runner = Runner(executor, space.store, observer)
        self.entries: dict[str, Entry] = {}
        self.notices: list[str] = []
        self.expected = 0
        self._costs: dict[Point, NetworkCost | DeepReduceError] = {}

    def notice(self, text: str) -> None:
        """Tell the user now, and in the result."""
        self.notices.append(text)
        self.observer.notice(text)

    def expect(self, jobs: int) -> None:
        """Set the number of trainings of the whole search, as far as known."""
        self.expected = jobs
        self.observer.expect(jobs)

    def cost(self, point: Point) -> NetworkCost | None:
        """Return what a point's network costs; None if it cannot be made."""
        if point not in self._costs:
            try:
                self._costs[point] = self.method.cost(point)
            except DeepReduceError as error:
                self._costs[point] = error
        cost = self._costs[point]
        return cost if isinstance(cost, NetworkCost) else None

    def plan(self, role: str, step: str, point: Point, spec: JobSpec, rung: int = 0) -> Entry | None:
        """Register a training; None, with the reason noted, if the network cannot be made or its kind is left out."""
        if role == "candidate" and step in self.left_out:
            return None
        if spec.digest in self.entries:  # the last culled network is a profiling run: trained once
            entry = replace(self.entries[spec.digest], role=role, step=step)
        else:
            cost = self.cost(point)
            if cost is None:
                self.notice(f"{point} cannot be made, and is left out: {self._costs[point]}")
                return None
            entry = Entry(role, step, point, spec, cost, self.method.work(spec, cost), rung)
            name = str(point) if spec.teacher or role == "teacher" else f"{point} (without KD)"
            name += f", rung {rung}" if rung else ""
            done = self.space.store.is_done(spec.digest)
            self.observer.planned(Planned(spec.digest, name, spec.recipe.epochs, entry.work, done))
        self.entries[spec.digest] = entry
        return entry

    def job(self, entry: Entry) -> Job:
        """Return what a worker needs to know."""
        source = self.method.source
        needs = tuple(Origin(self.entries[digest].spec, source) for digest in entry.spec.needs)
        return Job(entry.spec, source, self.space.store.root, self.space.snapshot, needs)

    def run(self, entries: Iterable[Entry | None]) -> None:
        """Train ``entries``, the longest first among those of one role, so that workers finish together."""
        wanted = sorted((e for e in entries if e is not None), key=lambda e: (e.role != "teacher", -e.cost.macs))
        self.runner.run(self.job(entry) for entry in wanted)

    def failure(self, entry: Entry) -> str | None:
        """Reason why the training failed, if it did."""
        return self.runner.failed.get(entry.digest)

    def accuracy(self, entry: Entry | None) -> float | None:
        """Validation accuracy in percent; None for what could not be made or trained."""
        if entry is None or self.failure(entry) is not None:
            return None
        return float(self.space.store.metrics(entry.digest)["validation_accuracy"])

    def record(self, entry: Entry) -> TrainedNetwork:
        """Return the outcome of a training that is done."""
        metrics = self.space.store.metrics(entry.digest)
        return TrainedNetwork(
            str(entry.point),
            entry.role,
            entry.step,
            entry.spec.teacher is not None,
            **asdict(entry.cost),
            validation_accuracy=metrics["validation_accuracy"],
            job=entry.digest,
            seconds=metrics["seconds"],
            epochs=len(metrics["history"]),
        )

    def outcomes(self) -> list[TrainedNetwork]:
        """Return every network that is trained so far, once: of a training and the one that goes on from it, the
        better.
        """
        done = {digest: entry for digest, entry in self.entries.items() if self.space.store.is_done(digest)}
        dropped = {self._worse(done[entry.spec.start or ""], entry) for entry in done.values() if entry.rung > 1}
        return [self.record(entry) for digest, entry in done.items() if digest not in dropped]

    def _worse(self, before: Entry, after: Entry) -> str:
        """Sort key; of equals the network that was trained less comes first."""
        return before.digest if (self.accuracy(after) or 0) >= (self.accuracy(before) or 0) else after.digest

    def failures(self) -> list[dict[str, Any]]:
        """Return what failed, as in frontier.json."""
        failed = [(self.entries[digest], reason) for digest, reason in self.runner.failed.items()]
        return [{"name": str(e.point), "role": e.role, "job": e.digest, "error": reason} for e, reason in failed]

    def spending(self, full_macs: int, budget_macs: int) -> Spending:
        """Return what the search planned and spent of its budget; what failed is planned and not spent.

        Removing single elements, which comes on top of either search, is not counted.
        """
        planned = [entry for entry in self.entries.values() if entry.spec.elements is None]
        done = [entry for entry in planned if self.failure(entry) is None]
        return Spending(
            self.method.compute_budget,
            full_macs,
            budget_macs,
            sum(entry.work for entry in planned),
            sum(entry.work for entry in done),
            sum(float(self.space.store.metrics(entry.digest)["seconds"]) for entry in done),
        )

    def work_of(self, trainings: Sequence[tuple[Point, bool]], teacher: str) -> int:
        """MACs of training these (point, distilled) by the search's recipe; what cannot be made costs nothing."""
        total = 0
        for point, distilled in trainings:
            cost = self.cost(point)
            if cost is not None:
                total += self.method.work(self.method.spec(point, teacher if distilled else None), cost)
        return total
