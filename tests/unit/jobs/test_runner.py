"""The order in which jobs run, what waits for what, and what a deadline leaves undone."""

import time
from concurrent.futures import Future
from pathlib import Path

from deepreduce.errors import TrainingError
from deepreduce.files import write_json
from deepreduce.jobs.job import Job
from deepreduce.jobs.observer import JobObserver
from deepreduce.jobs.runner import Runner
from deepreduce.jobs.spec import JobSpec
from deepreduce.jobs.store import JobStore
from deepreduce.networks import ModelSource
from deepreduce.train import make_recipe


class InstantExecutor:
    """Does one job at each poll, in the order of submission, by writing what a worker would have left."""

    def __init__(self, store: JobStore, slots: int = 1, broken: frozenset[str] = frozenset()) -> None:
        self.slots, self.store, self.broken = slots, store, broken
        self.queue: list[tuple[Job, Future[None]]] = []
        self.done: list[tuple[str, bool]] = []
        self.longest = 0
        self.closed = False

    def submit(self, job):
        future: Future[None] = Future()
        self.queue.append((job, future))
        self.longest = max(self.longest, len(self.queue))
        return future

    def poll(self, handle):
        if not self.queue:
            return
        job, future = self.queue.pop(0)
        digest = job.spec.digest
        self.done.append((job.spec.point, job.test))
        if job.spec.point in self.broken and not job.test:
            future.set_exception(TrainingError("diverged"))
            return
        if job.test:
            write_json(self.store.folder(digest) / "test.json", {"test_accuracy": 1.0})
        else:
            self.store.finish(digest, {}, {"validation_accuracy": 1.0, "seconds": 1, "history": []})
        future.set_result(None)

    def close(self):
        self.closed = True


class Heard(JobObserver):
    def __init__(self):
        self.tests: list[str] = []
        self.reasons: list[str] = []

    def tested(self, digest, metrics):
        self.tests.append(digest)

    def failed(self, digest, error):
        self.reasons.append(error)


def spec(point, **changes):
    return JobSpec("net", "resnet6", point, "data", make_recipe("quick"), 0, **changes)


def jobs(tmp_path: Path, *specs: JobSpec) -> list[Job]:
    made = [Job(s, ModelSource("resnet6"), tmp_path, tmp_path / "data", test=test) for s in specs for test in (0, 1)]
    return [Job(j.spec, j.source, j.store, j.snapshot, test=bool(j.test)) for j in made]


def test_students_wait_for_their_teachers_and_tests_come_at_once(tmp_path):
    store, heard = JobStore(tmp_path), Heard()
    executor = InstantExecutor(store)
    teacher = spec("full")
    student = spec("S1", teacher=teacher.digest)
    grandchild = spec("S2", teacher=teacher.digest, start=student.digest)
    assert Runner(executor, store, heard).run(jobs(tmp_path, grandchild, student, teacher))
    assert [point for point, test in executor.done if not test] == ["full", "S1", "S2"]
    assert [point for point, test in executor.done if test] == ["full", "S1", "S2"]
    assert len(heard.tests) == 3
    assert executor.done.index(("full", True)) < executor.done.index(("S2", False))


def test_no_more_is_submitted_than_keeps_the_workers_busy(tmp_path):
    store = JobStore(tmp_path)
    executor = InstantExecutor(store, slots=2)
    Runner(executor, store, JobObserver()).run(jobs(tmp_path, *(spec(f"S{i}") for i in range(8))))
    assert executor.longest == 3 and len(executor.done) == 16


def test_what_needs_a_failed_training_fails_with_the_reason(tmp_path):
    store, heard = JobStore(tmp_path), Heard()
    runner = Runner(InstantExecutor(store, broken=frozenset({"full", "S3"})), store, heard)
    teacher, begun = spec("full"), spec("S3")
    runner.run(jobs(tmp_path, teacher, spec("S1", teacher=teacher.digest), begun, spec("S2", start=begun.digest)))
    reasons = ["diverged", "diverged", "its teacher failed", "the training that it starts from failed"]
    assert sorted(heard.reasons) == reasons  # told once each, though the tests of all four could not be read either
    assert len(runner.failed) == 4 and not heard.tests


def test_a_deadline_stops_the_executor_and_leaves_the_rest(tmp_path):
    store = JobStore(tmp_path)
    executor = InstantExecutor(store)
    many = jobs(tmp_path, *(spec(f"S{i}") for i in range(8)))
    assert not Runner(executor, store, JobObserver()).run(many, deadline=time.monotonic() - 1)
    assert executor.closed and not executor.done
    assert Runner(InstantExecutor(store), store, JobObserver()).run(many, deadline=time.monotonic() + 60)
    assert all(store.test_accuracy(job.spec.digest) == 1.0 for job in many)
