"""Runs jobs through an executor: students after their teacher, failures noted, progress passed on."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future

from ..errors import DeepReduceError, one_line
from .executors import Event, Executor, Started
from .observer import Observer
from .store import JobStore
from .work import Job


class Runner:
    """Holds what failed so far: digest -> one line saying why."""

    def __init__(self, executor: Executor, store: JobStore, observer: Observer) -> None:
        self.executor = executor
        self.store = store
        self.observer = observer
        self.failed: dict[str, str] = {}

    def run(self, jobs: Iterable[Job]) -> None:
        """Do all ``jobs`` (those done already are skipped) and return when each has ended, well or not.

        A job waits for those whose weights it reads; if one of them failed, so does it.
        """
        waiting = list({(job.spec.digest, job.test): job for job in jobs if not self._is_done(job)}.values())
        running: dict[Future[None], Job] = {}
        while waiting or running:
            for job in [job for job in waiting if self._is_ready(job, waiting, running)]:
                waiting.remove(job)
                if not job.test and any(digest in self.failed for digest in job.spec.needs):
                    teacher = job.spec.teacher in self.failed
                    self._fail(job, "its teacher failed" if teacher else "the training that it starts from failed")
                else:
                    running[self.executor.submit(job)] = job
            self.executor.poll(self._pass_on)
            for future in [future for future in running if future.done()]:
                self._settle(running.pop(future), future)

    def _is_done(self, job: Job) -> bool:
        digest = job.spec.digest
        return self.store.test_accuracy(digest) is not None if job.test else self.store.is_done(digest)

    def _is_ready(self, job: Job, waiting: list[Job], running: dict[Future[None], Job]) -> bool:
        unfinished = {other.spec.digest for other in [*waiting, *running.values()]}
        return job.test or unfinished.isdisjoint(job.spec.needs)

    def _pass_on(self, event: Event) -> None:
        if isinstance(event, Started):
            self.observer.started(event.digest)
        else:
            self.observer.epoch(event.digest, event.record)

    def _settle(self, job: Job, future: Future[None]) -> None:
        error = future.exception()
        if error is None:
            if not job.test:
                self.observer.ended(job.spec.digest, self.store.metrics(job.spec.digest))
        elif isinstance(error, DeepReduceError):
            self._fail(job, str(error))
        else:
            self._fail(job, f"{type(error).__name__}: {one_line(error)}")

    def _fail(self, job: Job, reason: str) -> None:
        self.failed[job.spec.digest] = reason
        self.observer.failed(job.spec.digest, reason)
