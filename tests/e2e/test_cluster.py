"""Jobs on a real Ray cluster: its driver, a worker and a node killed in mid-job; what cannot be asked of it."""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cluster_helper import ray_cluster, raylet_of, workers_of
from deepreduce.cli import executor as cli_executor
from deepreduce.cli.executor import ExecutorOptions
from deepreduce.data import snapshot
from deepreduce.errors import MissingPackageError, SettingError, StoreError, TrainingError
from deepreduce.jobs.cluster.object_store import UnreachableError, open_object_store
from deepreduce.jobs.cluster.ray_executor import RayExecutor, _knock
from deepreduce.jobs.cluster.shared_store import Depot
from deepreduce.jobs.executors import EpochEnded, InlineExecutor, ProcessExecutor, Started
from deepreduce.jobs.job import Job
from deepreduce.jobs.spec import JobSpec, network_digest
from deepreduce.jobs.store import JobStore
from deepreduce.networks import ModelSource
from deepreduce.train import make_recipe
from small_data import stripes_dataset

DATA = stripes_dataset()
EPOCHS = 80
PATIENCE_S = 900


def make_executor(name, jobs, device, folder, **given):
    """What a command line with these options would run on."""
    unset = dict.fromkeys(("ray_address", "store", "cpus_per_job", "gpus_per_job", "retries"))
    return cli_executor.make_executor(ExecutorOptions(jobs, device, name, **{**unset, **given}), folder)


@dataclasses.dataclass(frozen=True)
class Lab:
    """A cluster, a driver's executor, and another driver, in a process of its own, that waits for address and job."""

    cluster: object
    store: str
    executor: RayExecutor
    other_driver: multiprocessing.Process
    tell_other: Callable


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("lab")
    store = str(root / "store")
    context = multiprocessing.get_context("fork")  # before Ray is imported here; it cannot be forked
    theirs, ours = context.Pipe(duplex=False)
    driver = context.Process(target=drive, args=(theirs, store), daemon=True)
    driver.start()
    try:
        with ray_cluster(root, nodes=2) as cluster:
            executor = RayExecutor(store, address=cluster.address)
            yield Lab(cluster, store, executor, driver, ours.send)
            executor.close()
    finally:
        driver.kill()
        driver.join()


def drive(pipe, store: str) -> None:
    """Submit one job and wait for ever."""
    address, job, environment = pipe.recv()
    os.environ.update(environment)
    executor = RayExecutor(store, address=address)
    executor.submit(job)
    while True:
        executor.poll(lambda event: None)
        time.sleep(0.1)


def make_job(root: Path, seed: int = 0) -> Job:
    """A training with ``root`` as the driver's folder."""
    recipe = make_recipe("quick", epochs=EPOCHS, batch_size=32, crop_padding=1)
    source = ModelSource("resnet6", 0.0625)
    data = root / "data.safetensors"
    if not data.exists():
        snapshot.save(DATA, data)
    network = network_digest(source.build(DATA.input_shape, 2, seed))
    return Job(JobSpec(network, "resnet6", "S2+S3", DATA.digest, recipe, seed), source, root / "jobs", data)


def finish(executor, job: Job, handle=lambda event: None) -> list:
    """Do the job; what was heard meanwhile."""
    future, heard = executor.submit(job), []

    def on_event(event):
        heard.append(event)
        handle(event)

    deadline = time.monotonic() + PATIENCE_S
    while not future.done():
        assert time.monotonic() < deadline, heard
        executor.poll(on_event)
    future.result()
    return heard


def wait_for(condition) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def strikes(digest: str, *actions):
    """Handles events: after every 8 epochs or more it takes something away from the job, once it runs again."""
    begun, struck = [], []

    def handle(event):
        if isinstance(event, Started):
            begun.append(event)
        elif len(struck) < min(len(begun), len(actions)) and event.record.epoch >= 8 * (len(struck) + 1):
            for pid, raylet in workers_of(digest):
                actions[len(struck)](pid, raylet)
            struck.append(event)

    return handle


@pytest.mark.long
def test_a_job_loses_its_driver_its_worker_and_its_node(lab, tmp_path):
    """And comes out as one process trains it without interruption, to the last bit, with no epoch told twice."""
    depot = Depot.open(open_object_store(lab.store))
    token = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}

    def kill(pid, raylet):
        os.kill(pid, signal.SIGKILL)

    def remove(pid, raylet):
        (node,) = (node for node in lab.cluster.worker_nodes if raylet_of(node) == raylet)
        lab.cluster.remove_node(node, allow_graceful=False)

    for seed in range(4):  # on a busy machine a job may end before it is struck twice: then another one is tried
        job = make_job(tmp_path, seed)
        digest = job.spec.digest
        if seed == 0:
            lab.tell_other((lab.cluster.address, dataclasses.replace(job, store=tmp_path / "killed"), token))
            wait_for(lambda digest=digest: depot.last_epoch(digest) >= 3)
            lab.other_driver.kill()
            wait_for(lambda digest=digest: not workers_of(digest))
        left = depot.last_epoch(digest)
        assert seed or 3 <= left < EPOCHS
        heard = finish(lab.executor, job, strikes(digest, kill, remove))
        if heard.count(Started(digest)) == 3:
            break
    assert heard.count(Started(digest)) == 3 and len(lab.cluster.worker_nodes) == 1
    numbers = [event.record.epoch for event in heard if isinstance(event, EpochEnded)]
    assert numbers == sorted(set(numbers)) and numbers[0] == left + 1 and numbers[-1] == EPOCHS
    assert_as_inline(job, tmp_path)

    # Another driver gets the result without a task, and a test's reading is one.
    other = dataclasses.replace(job, store=tmp_path / "other")
    assert lab.executor.submit(other).done() and not lab.executor._running
    finish(lab.executor, dataclasses.replace(other, test=True))
    for name in ("weights.safetensors", "metrics.json"):
        ours, theirs = (j.store / digest / name for j in (job, other))
        assert ours.read_bytes() == theirs.read_bytes()
    assert "test_accuracy" in json.loads((other.store / digest / "test.json").read_text())


def assert_as_inline(job: Job, root: Path) -> None:
    """The driver's copy of the result is the InlineExecutor's."""
    alone = dataclasses.replace(job, store=root / "inline")
    inline = InlineExecutor("cpu")
    future = inline.submit(alone)
    inline.poll(lambda event: None)
    future.result()
    ours, theirs = (j.store / job.spec.digest / "weights.safetensors" for j in (job, alone))
    assert ours.read_bytes() == theirs.read_bytes()
    history = json.loads((job.store / job.spec.digest / "metrics.json").read_text())["history"]
    assert [record["epoch"] for record in history] == list(range(1, EPOCHS + 1))


def test_what_cannot_be_asked_of_a_cluster(lab, tmp_path, monkeypatch):
    with pytest.raises(SettingError, match=r"no node .* 64 CPUs and 0 GPUs \(the largest has 1 and 0\)"):
        RayExecutor(lab.store, cpus=64)
    with pytest.raises(SettingError, match="1 CPUs and 1 GPUs"):
        RayExecutor(lab.store, gpus=1)
    unsendable = dataclasses.replace(make_job(tmp_path, seed=9), source=ModelSource(Unsendable()))
    with pytest.raises(SettingError, match="cannot be sent to another process: by no means"):
        lab.executor.submit(unsendable)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"needs Ray .*deepreduce\[cluster\]"):
        RayExecutor(lab.store)


class Unsendable:
    def __reduce__(self):
        raise TypeError("by no means")


class Dying:
    """Ray, as far as an executor asks for it: tasks whose workers die, each after some epochs."""

    class exceptions:  # noqa: N801
        class RayTaskError(Exception):
            pass

    cloudpickle = pickle

    def __init__(self, depot: Depot, digest: str, epochs: list[int], error: Exception) -> None:
        self.depot, self.digest, self.epochs, self.error = depot, digest, epochs, error
        self.tasks = 0

    def options(self, **options):
        return self

    def remote(self, *arguments):
        self.tasks += 1
        return self.tasks

    def wait(self, references, **options):
        return references, []

    def get(self, reference):
        for epoch in self.epochs[:1]:
            self.depot.objects.create(f"jobs/{self.digest}/epoch-{epoch:06d}.ckpt", b"")
        del self.epochs[:1]
        if isinstance(self.error, UnreachableError):
            return self.error
        raise self.error


def executor_on(ray, depot: Depot) -> RayExecutor:
    """An executor that is connected to nothing but ``ray``."""
    executor = object.__new__(RayExecutor)
    settings = {"_ray": ray, "_task": ray, "_depot": depot, "_objects": depot.objects, "_retries": 2, "_cpus": 1}
    settings |= {"_gpus": 0, "_running": {}, "_offered": set(), "_mailbox": None, "_take_events": list}
    for name, value in settings.items():
        setattr(executor, name, value)
    return executor


@pytest.mark.parametrize("error", [OSError("the worker died"), UnreachableError("the store is away")])
@pytest.mark.parametrize(("epochs", "tasks"), [([], 3), ([1], 3), ([1, 2, 3], 5)])
def test_a_job_is_given_up_after_deaths_in_a_row_that_gain_nothing(tmp_path, error, epochs, tasks):
    depot = Depot.open(open_object_store(str(tmp_path / "store")))
    job = make_job(tmp_path)
    dying = Dying(depot, job.spec.digest, list(epochs), error)
    says = f"3 workers in a row died before they finished epoch {max(epochs, default=0) + 1}: {error}.*`retries`"
    with pytest.raises(TrainingError, match=says):
        finish(executor_on(dying, depot), job)
    assert dying.tasks == tasks


def test_a_result_that_is_another_one_here_is_not_mixed_with_the_store(tmp_path):
    """A student must learn from the teacher that the driver shows."""
    teacher = make_job(tmp_path, seed=7)
    depot = Depot.open(open_object_store(str(tmp_path / "store")))
    for name, value in (("there", 1.0), ("jobs", 2.0)):
        store = JobStore(tmp_path / name)
        metrics = {"validation_accuracy": value, "seconds": 1, "history": []}
        store.finish(teacher.spec.digest, {"w": torch.full((2,), value)}, metrics)
        depot.publish(store, teacher.spec.digest)
    student = dataclasses.replace(teacher, spec=dataclasses.replace(teacher.spec, teacher=teacher.spec.digest))
    with pytest.raises(StoreError, match=r"another result of job .* choose another `store`"):
        executor_on(None, depot).submit(student)


# --- the command line ---


def test_options_of_a_cluster(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("deepreduce.jobs.cluster.RayExecutor", lambda *a, **k: asked.append((a, k)))
    make_executor("ray", None, "auto", tmp_path / "store")
    make_executor("ray", 7, "auto", tmp_path, ray_address="a:1", store="s3://b/p", cpus_per_job=2, gpus_per_job=0.5)
    make_executor("ray", None, "auto", tmp_path, retries=0)
    defaults = {"address": None, "jobs": None, "cpus": 1, "gpus": None, "retries": 3}
    assert asked[0] == ((str(tmp_path / "store"),), defaults)
    assert asked[1] == (("s3://b/p",), defaults | {"address": "a:1", "jobs": 7, "cpus": 2, "gpus": 0.5})
    assert asked[2][1]["retries"] == 0


def test_options_that_contradict_each_other(tmp_path):
    with pytest.raises(SettingError, match="--gpus-per-job"):
        make_executor("ray", 1, "cuda", tmp_path)
    with pytest.raises(SettingError, match=r"--store is for searches on a cluster .*--executor ray"):
        make_executor("processes", 1, "cpu", tmp_path, store="s3://b/p")
    for options, says in (
        ({"retries": -1}, "`retries` -1 is not in"),
        ({"cpus_per_job": 0}, "`cpus_per_job` 0 is"),
        ({"gpus_per_job": float("nan")}, "`gpus_per_job` nan is"),
        ({"store": "file://"}, "names no folder"),
    ):
        with pytest.raises(SettingError, match=says):
            make_executor("ray", None, "auto", tmp_path, **options)
    with pytest.raises(SettingError, match="`jobs` 0 is"):
        make_executor("ray", 0, "auto", tmp_path)
    here = SimpleNamespace(util=SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1"))
    with pytest.raises(SettingError, match=r"no Ray cluster at localhost:1: .*refused .*ray start"):
        _knock(here, "localhost:1")  # Ray itself would try for many minutes
    with pytest.raises(SettingError, match="did you mean 'ray'"):
        make_executor("rey", 1, "cpu", tmp_path)
    with contextlib.closing(make_executor("processes", None, "cpu", tmp_path)) as executor:
        assert isinstance(executor, ProcessExecutor) and executor.slots == 1
