"""The method, end to end (paper, section 3.5 and Figure 4): teacher, profiling, criticality, candidates, frontier."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ..data import load
from ..data.dataset import Dataset
from ..errors import DeepReduceError, SettingError, TrainingError
from ..networks.counting import Cost, count
from ..networks.point import Point, full_point
from ..networks.source import ModelLike, ModelSource
from ..reduce.build import reduce_to
from ..reduce.elements import Linearize
from ..train.recipe import Recipe, make_recipe, teacher_recipe_of
from ..version import __version__
from .budgets import Budgets, bests, parse_budgets, refinements
from .candidates import candidates, profiling_points, unthinnable
from .criticality import EXPONENT, check_exponent, criticality, culling_order
from .executors import Executor, InlineExecutor, ProcessExecutor
from .frontier import FILE, Frontier, TrainedNetwork, keep_measurements, pareto, to_records
from .method import Method
from .observer import Observer, Planned
from .runner import Runner
from .spec import JobSpec
from .store import write_json
from .work import Job, Origin, surroundings
from .workspace import Workspace, save_data


def find_frontier(
    model: ModelLike,
    data: str | Dataset,
    *,
    out: str | Path | None = None,
    width: float = 1.0,
    stages: Mapping[str, str] | None = None,
    recipe: str | Recipe = "paper",
    teacher_recipe: str | Recipe | None = None,
    seed: int = 0,
    alpha: float = 0.5,
    rho: float = 0.5,
    exponent: float = EXPONENT,
    budgets: str | Sequence[int | str] = (),
    elements: Linearize | None = None,
    jobs: int = 1,
    device: str = "auto",
    executor: Executor | None = None,
    observer: Observer | None = None,
    command: str = "",
) -> Frontier:
    """Search the ReLU-reduced networks of ``model`` on ``data`` and return their Pareto frontier.

    ``model`` is a built-in name, ``file.py:factory``, a factory or a module; ``data`` a name or a `Dataset`. ``out`` is
    the search's folder (default: a new temporary one): the same call with the same ``out`` goes on where an earlier
    one stopped. ``recipe`` trains every network alike, or all but the teacher, which ``teacher_recipe`` trains (if it
    is None: ``strong-teacher`` where the recipe is ``strong``); ``alpha``, ``rho`` and the criticality ``exponent`` are
    the paper's. For every number of ReLUs in ``budgets`` (``(50_000, 25_000)`` or ``"50k,25k"``) single elements are
    then removed, as ``elements`` says, from the whole network and from one that was found. ``jobs`` networks are
    trained at once: 1 in this process, more in worker processes, for which a script needs ``if __name__ ==
    "__main__":`` around the call, and the model must be a name or an object that can be pickled.

    Each network's weights are those of its best validation epoch; validation accuracy decides the frontier; the test
    split is read once, for the frontier and the teacher, at the end. Raises `DeepReduceError` subclasses on bad input.
    """
    source = ModelSource(model, width, stages)
    if isinstance(recipe, str):
        recipe = make_recipe(recipe)
    if isinstance(teacher_recipe, str):
        teacher_recipe = make_recipe(teacher_recipe)
    teacher_recipe = teacher_recipe or teacher_recipe_of(recipe)
    if not 0 < alpha <= 1 or not 0 < rho <= 1:
        raise SettingError(f"alpha {alpha:g} and rho {rho:g} must be in (0, 1]", "the paper's are 0.5")
    dataset = load(data, seed=seed) if isinstance(data, str) else data
    observer = observer or Observer()
    for text in dataset.notices:
        observer.notice(text)
    full = source.build(dataset.input_shape, len(dataset.classes), seed)
    wanted = Budgets(parse_budgets(budgets), elements or Linearize())
    method = Method(source, full, dataset, recipe, teacher_recipe, seed, alpha, rho, exponent)
    profiling_points(full.layout)  # refuses D = 1 before anything is written
    check_exponent(exponent)
    space = Workspace(Path(out) if out else Path(tempfile.mkdtemp(prefix="deepreduce-")))
    own: Executor | None = None
    if executor is None:
        executor = own = InlineExecutor(device) if jobs == 1 else ProcessExecutor(jobs, device)
    try:
        with space.claim(method.identity()):
            save_data(dataset, space.snapshot)
            frontier = _Search(method, space, executor, observer, command, wanted).run()
            space.drop_data()
            return frontier
    finally:
        if own is not None:
            own.close()


@dataclass(frozen=True)
class _Entry:
    role: str
    step: str
    point: Point
    spec: JobSpec
    cost: Cost


class _Search:
    """One run of the method: entries are planned, run, and turned into the frontier's records."""

    def __init__(
        self,
        method: Method,
        space: Workspace,
        executor: Executor,
        observer: Observer,
        command: str,
        budgets: Budgets,
    ) -> None:
        self.method = method
        self.budgets = budgets
        self.space = space
        self.observer = observer
        self.command = command
        self.runner = Runner(executor, space.store, observer)
        self.entries: dict[str, _Entry] = {}
        self.notices: list[str] = []

    def run(self) -> Frontier:
        layout = self.method.full.layout
        for text in self.method.full.notices:
            self._notice(text)
        for stage in unthinnable(layout):
            self._notice(f"stage {stage} has a single ReLU layer and cannot be thinned: it stays whole")

        # The last culled network is a profiling run: one training less than there are names.
        self.observer.expect(1 + 2 * len(layout.ranked_stages) + 5 * (len(layout.ranked_stages) - 1) - 1)
        self.observer.phase("teacher and profiling")
        teacher = self._plan("teacher", "full", self.method.full.point, None)
        assert teacher is not None
        alone = profiling_points(layout)
        plain = {stage: self._plan("profile", "profiled", point, None) for stage, point in alone.items()}
        distilled = {stage: self._plan("profile", "profiled", p, teacher.spec.digest) for stage, p in alone.items()}
        self._run([teacher, *plain.values(), *distilled.values()])
        if teacher.spec.digest in self.runner.failed:
            raise TrainingError(f"the teacher failed: {self.runner.failed[teacher.spec.digest]}")

        table = self._criticality(plain, distilled)
        order = tuple(row["stage"] for row in table)
        self.observer.phase(f"candidates, culling {' < '.join(order)}")
        found = candidates(layout, order, self.method.alpha, self.method.rho)
        self._run([self._plan("candidate", c.step, c.point, teacher.spec.digest) for c in found])
        self.observer.expect(len(self.entries))

        self._refine(teacher)
        networks = pareto(self._outcomes())
        rows = bests(self.budgets.relus, networks)
        self.observer.phase("test accuracy of the frontier")
        compared = {job for row in rows for job in row.values()}
        tested = [n for n in networks if n.on_frontier or n.role == "teacher" or n.job in compared]
        self.runner.run(replace(self._job(self.entries[n.job]), test=True) for n in tested)
        networks = [replace(n, test_accuracy=self.space.store.test_accuracy(n.job)) for n in networks]
        content = self._content(table, networks)
        if rows:
            content["settings"]["elements"] = asdict(self.budgets.elements)
            content["budgets"] = rows
        keep_measurements(content, self.space.root / FILE)
        write_json(self.space.root / FILE, content)
        return Frontier(self.space.root, content, self.method.source)

    def _refine(self, teacher: _Entry) -> None:
        """Single elements removed until each budget is met."""
        if not self.budgets.relus:
            return
        layout, job = self.method.full.layout, teacher.spec.digest
        whole = reduce_to(self.method.full, full_point(layout.ranked_stages)).relus
        found, notices = refinements(self.budgets.relus, layout, whole, self._outcomes(), job)
        for text in notices:
            self._notice(text)
        self.observer.expect(len(self.entries) + len(found))
        self.observer.phase("single elements, to meet the budgets")
        self._run([self._plan("candidate", r.step, r.point, job, r.start) for r in found])
        self.observer.expect(len(self.entries))

    def _plan(self, role: str, step: str, point: Point, teacher: str | None, start: str | None = None) -> _Entry | None:
        """Register a training; None, with the reason noted, if the network cannot be made."""
        spec = self.method.spec(point, teacher, start, None if point.relus is None else self.budgets.elements)
        if spec.digest in self.entries:  # the last culled network is a profiling run: trained once
            entry = replace(self.entries[spec.digest], role=role, step=step)
        else:
            try:
                cost = count(reduce_to(self.method.full, point)).total
                cost = cost if point.relus is None else replace(cost, relus=point.relus)
            except DeepReduceError as error:
                self._notice(f"{point} cannot be made, and is left out: {error}")
                return None
            entry = _Entry(role, step, point, spec, cost)
            forward_macs = self.method.full_macs if teacher else 0
            work = len(self.method.data.train) * spec.recipe.epochs * (3 * cost.macs + forward_macs)
            name = str(point) if teacher or role == "teacher" else f"{point} (without KD)"
            done = self.space.store.is_done(spec.digest)
            self.observer.planned(Planned(spec.digest, name, spec.recipe.epochs, work, done))
        self.entries[spec.digest] = entry
        return entry

    def _job(self, entry: _Entry) -> Job:
        source = self.method.source
        needs = tuple(Origin(self.entries[digest].spec, source) for digest in entry.spec.needs)
        return Job(entry.spec, source, self.space.store.root, self.space.snapshot, needs)

    def _run(self, entries: Sequence[_Entry | None]) -> None:
        """Train ``entries``, the longest first among those of one role, so that workers finish together."""
        wanted = sorted((e for e in entries if e is not None), key=lambda e: (e.role != "teacher", -e.cost.macs))
        self.runner.run(self._job(entry) for entry in wanted)

    def _accuracy(self, entry: _Entry | None) -> float | None:
        if entry is None or entry.spec.digest in self.runner.failed:
            return None
        return float(self.space.store.metrics(entry.spec.digest)["validation_accuracy"])

    def _criticality(
        self, plain: Mapping[str, _Entry | None], distilled: Mapping[str, _Entry | None]
    ) -> list[dict[str, Any]]:
        """The criticality table in culling order. A stage whose profiling failed is culled first, with a notice."""
        measured = {stage: self._accuracy(entry) for stage, entry in distilled.items()}
        known = {stage: value for stage, value in measured.items() if value is not None}
        if not known:
            raise TrainingError("every profiling run failed", "see the reasons above")
        relus = {stage: entry.cost.relus for stage, entry in distilled.items() if entry is not None}
        values = criticality(known, relus, self.method.exponent)
        for stage in measured.keys() - known.keys():
            self._notice(f"stage {stage} could not be profiled: it is treated as the least critical")
        ranks = {stage: values.get(stage, -1.0) for stage in measured}
        return [
            {
                "stage": stage,
                "relus": relus[stage],
                "accuracy_without_kd": self._accuracy(plain[stage]),
                "accuracy_with_kd": measured[stage],
                "criticality": values.get(stage),
            }
            for stage in culling_order(ranks, tuple(measured))
        ]

    def _outcomes(self) -> list[TrainedNetwork]:
        outcomes = []
        for digest, entry in self.entries.items():
            if digest in self.runner.failed:
                continue
            metrics = self.space.store.metrics(digest)
            outcomes.append(
                TrainedNetwork(
                    str(entry.point),
                    entry.role,
                    entry.step,
                    entry.spec.teacher is not None,
                    **asdict(entry.cost),
                    validation_accuracy=metrics["validation_accuracy"],
                    job=digest,
                    seconds=metrics["seconds"],
                    epochs=len(metrics["history"]),
                )
            )
        return outcomes

    def _content(self, table: list[dict[str, Any]], networks: list[TrainedNetwork]) -> dict[str, Any]:
        data = self.method.data
        failed = [
            {"name": str(self.entries[d].point), "role": self.entries[d].role, "job": d, "error": reason}
            for d, reason in self.runner.failed.items()
        ]
        teacher = next(n for n in networks if n.role == "teacher")
        trained_on = self.space.store.metrics(teacher.job)
        return {
            "format": 1,
            "deepreduce": __version__,
            "command": self.command,
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "finished": True,
            "settings": self.method.settings(),
            "versions": {k: trained_on[k] for k in surroundings(torch.device("cpu"))},
            "data": {
                "name": data.name,
                "digest": data.digest,
                "train": len(data.train),
                "validation": len(data.validation),
                "test": len(data.test),
                "classes": list(data.classes),
                "input_shape": list(data.input_shape),
                "notices": [*data.notices, *self.notices],
            },
            "profile": count(self.method.full).to_json(),
            "criticality": table,
            "networks": to_records(networks),
            "failed": failed,
        }

    def _notice(self, text: str) -> None:
        self.notices.append(text)
        self.observer.notice(text)
