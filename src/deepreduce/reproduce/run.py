"""Runs the trainings that have no record yet, and those whose weights they need."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from ..jobs.executors import Executor
from ..jobs.job import Job
from ..jobs.observer import JobObserver, Planned
from ..jobs.runner import Runner
from ..train.fit import Epoch
from ..version import __version__
from .job_factory import JobFactory
from .provenance import today
from .records import Record, Records
from .scale import Scale
from .training import Training


@dataclass(frozen=True)
class RunOutcome:
    """``failed``: description -> reason; ``stopped`` by the time limit."""

    failed: dict[str, str]
    stopped: bool


def run_missing(
    lab: JobFactory,
    records: Records,
    wanted: Iterable[tuple[Training, int]],
    executor: Executor,
    observer: JobObserver | None = None,
    time_limit_s: float = inf,
    watch_test: bool = False,
) -> RunOutcome:
    """Train every (training, seed) of ``wanted`` that ``records`` lack, in this order, and record each at once.

    A teacher whose record is there but whose weights are not is trained again only where a student needs it. With
    ``watch_test`` test accuracies are noted after every epoch; nothing is chosen by them.
    """
    deadline = time.monotonic() + time_limit_s
    missing = [(t, s) for t, s in dict.fromkeys(wanted) if lab.spec(t, s).digest not in records]
    planned: dict[str, tuple[Training, int]] = {}
    for training, seed in missing:
        for need in _closure(lab, training):
            planned.setdefault(lab.spec(need, seed).digest, (need, seed))
    jobs: list[Job] = []
    for training, seed in planned.values():
        jobs += [lab.job(training, seed, watch_test=watch_test), lab.job(training, seed, test=True)]
    recorder = _Recorder(lab, records, planned, observer or JobObserver())
    recorder.announce()
    runner = Runner(executor, lab.store, recorder)
    finished = runner.run(jobs, deadline)
    failed = {f"{planned[digest][0]}, seed {planned[digest][1]}": reason for digest, reason in runner.failed.items()}
    return RunOutcome(failed, not finished)


def _closure(lab: JobFactory, training: Training) -> Sequence[Training]:
    """``training`` after everything it needs."""
    return [*(inner for need in lab.needs(training) for inner in _closure(lab, need)), training]


class _Recorder(JobObserver):
    """Passes everything on and writes a record when a test accuracy was read."""

    def __init__(
        self, lab: JobFactory, records: Records, planned: dict[str, tuple[Training, int]], observer: JobObserver
    ) -> None:
        self.lab, self.records, self.planned_jobs, self.observer = lab, records, planned, observer

    def announce(self) -> None:
        """Tell what is to be done, and record what was finished but not recorded when the last run was stopped."""
        self.observer.expect(len(self.planned_jobs))
        for digest, (training, seed) in self.planned_jobs.items():
            spec, cost = self.lab.spec(training, seed), self.lab.cost(training)
            teacher = self.lab.teacher(training)
            forward = self.lab.cost(teacher).macs if teacher else 0
            images = spec.recipe.images_per_epoch(len(self.lab.data(training.data).train))
            work = images * spec.recipe.epochs * (3 * cost.macs + forward)
            done = self.lab.store.is_done(digest)
            self.observer.planned(Planned(digest, f"{training}, seed {seed}", spec.recipe.epochs, work, done))
            if done and self.lab.store.test_accuracy(digest) is not None and digest not in self.records:
                self.tested(digest, self.lab.store.metrics(digest))

    def started(self, digest: str) -> None:
        """Passed on."""
        self.observer.started(digest)

    def epoch(self, digest: str, record: Epoch) -> None:
        """Passed on."""
        self.observer.epoch(digest, record)

    def ended(self, digest: str, metrics: dict[str, Any]) -> None:
        """Passed on."""
        self.observer.ended(digest, metrics)

    def failed(self, digest: str, error: str) -> None:
        """Passed on."""
        self.observer.failed(digest, error)

    def notice(self, text: str) -> None:
        """Passed on."""
        self.observer.notice(text)

    def tested(self, digest: str, metrics: dict[str, Any]) -> None:
        """Record the training."""
        training, seed = self.planned_jobs[digest]
        spec, cost = self.lab.spec(training, seed), self.lab.trained_cost(training, seed)
        test = self.lab.store.test_accuracy(digest)
        assert test is not None
        best = [epoch["test_accuracy"] for epoch in metrics["history"] if epoch.get("test_accuracy") is not None]
        self.records.add(
            Record(
                digest=digest,
                scale=self.lab.scale.name,
                network=training.network,
                point=spec.point,
                data=training.data,
                seed=seed,
                settings=_settings(training, self.lab.scale),
                teacher=spec.teacher,
                start=spec.start,
                relus=cost.relus,
                params=cost.params,
                macs=cost.macs,
                validation_accuracy=metrics["validation_accuracy"],
                test_accuracy=test,
                best_test=max(best, default=None),
                best_epoch=metrics["best_epoch"],
                epochs=len(metrics["history"]),
                seconds=metrics["seconds"],
                hardware=metrics["hardware"],
                device=metrics["device"],
                threads=metrics["threads"],
                torch=metrics["torch"],
                deepreduce=__version__,
                front_padding=training.front_padding,
                date=today(),
            )
        )
        self.observer.tested(digest, metrics)


def _settings(training: Training, scale: Scale) -> dict[str, Any]:
    """Return what sets a training apart from the scale's, by name; the precision where the scale leaves that open."""
    settings: dict[str, Any] = {"precision": scale.recipe.precision} if scale.native_precision else {}
    if training.recipe is not None:
        settings["recipe"] = training.recipe
    if training.prune is not None:
        settings["prune"] = asdict(training.prune)
    if training.elements is not None:
        settings["elements"] = asdict(training.elements)
    return {**settings, **dict(training.settings)}
