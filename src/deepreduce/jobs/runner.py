"""Runs jobs through an executor: students after their teacher, failures noted, progress passed on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from math import inf

from ..errors import DeepReduceError, one_line
from .executors import Event, Executor, Started
from .job import Job
from .observer import JobObserver
from .store import JobStore


class Runner:
    """Holds what failed so far: digest -> one line saying why. ``on_ended`` is called after each job, well or not."""

    def __init__(self, executor: Executor, store: JobStore, observer: JobObserver) -> None:
        self.executor = executor
        self.store = store
        self.observer = observer
        self.failed: dict[str, str] = {}
        self.on_ended: Callable[[], None] = lambda: None

    def run(self, jobs: Iterable[Job], deadline: float = inf) -> bool:
        """Do all ``jobs`` (those done already are skipped) and return when each has ended, well or not.

        A job waits for those whose weights it reads; if one of them failed, so does it. A test is read as soon as its
        training is done. At ``deadline`` (of `time.monotonic`) the executor is closed and False returned: unfinished
        trainings go on from their last epoch another time.
        """
        waiting = list({(job.spec.digest, job.test): job for job in jobs if not self._is_done(job)}.values())
        running: dict[Future[None], Job] = {}
        while waiting or running:
            if time.monotonic() >= deadline:
                self.executor.close()
                return False
            for job in self._ready(waiting, running):
                waiting.remove(job)
                if reason := self._blocked_reason(job):
                    self._fail(job, reason)
                else:
                    running[self.executor.submit(job)] = job
            self.executor.poll(self._pass_on)
            for future in [future for future in running if future.done()]:
                self._settle(running.pop(future), future)
                self.on_ended()
        return True

    def _ready(self, waiting: list[Job], running: dict[Future[None], Job]) -> list[Job]:
        """Return what to submit next: tests first, and no more than keeps the workers busy, so that tests need not
        queue.
        """
        unfinished = {job.spec.digest for job in [*waiting, *running.values()] if not job.test}
        ready = [job for job in waiting if unfinished.isdisjoint(_before(job))]
        free = self.executor.slots + 1 - len(running)
        return sorted(ready, key=lambda job: not job.test)[: max(0, free)]

    def _blocked_reason(self, job: Job) -> str:
        """Return why ``job`` can no longer run, or ""."""
        if job.test:
            return "its training failed" if job.spec.digest in self.failed else ""
        if job.spec.teacher in self.failed:
            return "its teacher failed"
        return "the training that it starts from failed" if job.spec.start in self.failed else ""

    def _is_done(self, job: Job) -> bool:
        digest = job.spec.digest
        return self.store.test_accuracy(digest) is not None if job.test else self.store.is_done(digest)

    def _pass_on(self, event: Event) -> None:
        if isinstance(event, Started):
            self.observer.started(event.digest)
        else:
            self.observer.epoch(event.digest, event.record)

    def _settle(self, job: Job, future: Future[None]) -> None:
        error = future.exception()
        if error is None:
            told = self.observer.tested if job.test else self.observer.ended
            told(job.spec.digest, self.store.metrics(job.spec.digest))
        elif isinstance(error, DeepReduceError):
            self._fail(job, str(error))
        else:
            self._fail(job, f"{type(error).__name__}: {one_line(error)}")

    def _fail(self, job: Job, reason: str) -> None:
        if job.spec.digest not in self.failed:  # a training's own reason rather than that its test has none
            self.failed[job.spec.digest] = reason
            self.observer.failed(job.spec.digest, reason)


def _before(job: Job) -> tuple[str, ...]:
    """Return the trainings that must have ended before ``job`` begins."""
    return (job.spec.digest,) if job.test else job.spec.needs
