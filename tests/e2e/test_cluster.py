"""Jobs on a real Ray cluster whose store is a real S3 server: workers, a node and the driver killed in mid-job."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

import deepreduce
from cluster_helper import ray_cluster, raylet_of, workers_of
from deepreduce.data import load, snapshot
from deepreduce.errors import MissingPackageError, SettingError, TrainingError
from deepreduce.networks import ModelSource
from deepreduce.search.executors import EpochEnded, InlineExecutor, Started
from deepreduce.search.objects import open_objects
from deepreduce.search.ray_executor import RayExecutor
from deepreduce.search.spec import JobSpec, network_digest
from deepreduce.search.work import Job
from deepreduce.train import make_recipe
from s3_server import s3_server
from small_data import stripes_dataset, write_folder

DATA = stripes_dataset()
EPOCHS = 30
PATIENCE_S = 200


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def cluster(bucket, tmp_path_factory):
    with ray_cluster(tmp_path_factory.mktemp("nodes"), nodes=2) as cluster:
        yield cluster


@pytest.fixture
def executor(cluster, bucket, tmp_path):
    executor = RayExecutor(f"{bucket}/{tmp_path.name}", address=cluster.address, retries=1)
    yield executor
    executor.close()


def make_job(root: Path, seed: int = 0, model: str = "resnet6", **changes) -> Job:
    """A training with ``root`` as the driver's folder."""
    recipe = make_recipe("quick", epochs=EPOCHS, batch_size=32, crop_padding=1)
    source = ModelSource(model, 0.0625 if model == "resnet6" else 1.0)
    data = root / "data.safetensors"
    if not data.exists():
        root.mkdir(exist_ok=True)
        snapshot.save(DATA, data)
    network = network_digest(source.build(DATA.input_shape, 2, seed))
    spec = JobSpec(network, source.name, "S2+S3", DATA.digest, recipe, seed, **changes)
    return Job(spec, source, root / "jobs", data)


def finish(executor, future: Future, handle=lambda event: None) -> list:
    """Poll until the job has ended; what was heard."""
    heard: list = []

    def on_event(event):
        heard.append(event)
        handle(event)

    deadline = time.monotonic() + PATIENCE_S
    while not future.done():
        assert time.monotonic() < deadline, heard
        executor.poll(on_event)
    return heard


def epochs(heard: list) -> list[int]:
    return [event.record.epoch for event in heard if isinstance(event, EpochEnded)]


def assert_as_inline(job: Job, root: Path) -> None:
    """The driver's copy of the result is what one process trains without interruption, to the last bit."""
    alone = dataclasses.replace(job, store=root / "inline")
    inline = InlineExecutor("cpu")
    future = inline.submit(alone)
    inline.poll(lambda event: None)
    future.result()
    ours, theirs = (j.store / job.spec.digest / "weights.safetensors" for j in (job, alone))
    assert ours.read_bytes() == theirs.read_bytes()


def strike(executor, tmp_path: Path, kill) -> tuple[Job, list]:
    """A job whose worker or node ``kill(pid, raylet)`` takes away after it told of three epochs.

    On a busy machine the job may end before: then another one is tried.
    """
    for seed in range(5):
        job = make_job(tmp_path / "driver", seed)
        struck: list[bool] = []

        def handle(event, job=job, struck=struck):
            if isinstance(event, EpochEnded) and event.record.epoch >= 3 and not struck:
                for pid, raylet in workers_of(job.spec.digest):
                    kill(pid, raylet)
                    struck.append(True)

        future = executor.submit(job)
        heard = finish(executor, future, handle)
        future.result()
        if heard.count(Started(job.spec.digest)) > 1:
            return job, heard
    raise AssertionError("every job ended before it could be killed")


def assert_resumed(job: Job, heard: list) -> None:
    """It went on from where it was: no epoch twice, none left out but one whose news died with the worker."""
    numbers = epochs(heard)
    assert numbers == sorted(set(numbers)) and numbers[-1] == EPOCHS
    assert len(numbers) >= EPOCHS - 1
    history = json.loads((job.store / job.spec.digest / "metrics.json").read_text())["history"]
    assert [record["epoch"] for record in history] == list(range(1, EPOCHS + 1))


def test_a_worker_killed_in_mid_job(executor, tmp_path):
    job, heard = strike(executor, tmp_path, lambda pid, raylet: os.kill(pid, signal.SIGKILL))
    assert_resumed(job, heard)
    assert_as_inline(job, tmp_path)
    test = dataclasses.replace(job, test=True)
    finish(executor, executor.submit(test))
    assert "test_accuracy" in json.loads((job.store / job.spec.digest / "test.json").read_text())
    # Another driver, which knows nothing of all this, gets the result without a task.
    other = dataclasses.replace(test, store=tmp_path / "other")
    assert executor.submit(other).done() and not executor._running
    for name in ("weights.safetensors", "metrics.json", "test.json"):
        ours, theirs = (j.store / job.spec.digest / name for j in (job, other))
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_job_whose_workers_all_die_is_given_up(executor, tmp_path):
    (tmp_path / "deadly.py").write_text(
        "import os, signal, sys\nfrom deepreduce.networks import build_zoo\n"
        "def build(num_classes, input_shape):\n"
        "    if 'default_worker.py' in sys.argv[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return build_zoo('resnet6', width=0.0625, input_shape=input_shape, num_classes=num_classes)\n"
    )
    future = executor.submit(make_job(tmp_path / "driver", model=f"{tmp_path / 'deadly.py'}:build"))
    heard = finish(executor, future)
    says = r"2 workers in a row died before they finished epoch 1: .*--retries bounds this"
    assert len(heard) <= 2 and not epochs(heard)
    failure = future.exception()
    assert isinstance(failure, TrainingError) and re.search(says, str(failure))


def test_requests_that_no_node_can_meet(cluster, bucket, monkeypatch, tmp_path):
    with pytest.raises(SettingError, match=r"no node .* 64 CPUs and 0 GPUs \(the largest has 1 and 0\)"):
        RayExecutor(bucket, address=cluster.address, cpus=64)
    with pytest.raises(SettingError, match="1 CPUs and 1 GPUs"):
        RayExecutor(bucket, address=cluster.address, gpus=1)
    with pytest.raises(SettingError, match="retries"):
        RayExecutor(bucket, address=cluster.address, retries=-1)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"needs Ray .*deepreduce\[cluster\]"):
        RayExecutor(bucket)


def search(out: Path, *arguments: str) -> list[str]:
    settings = ["--recipe=quick", "--width=0.0625", "--epochs=2", "--batch-size=32", "--set=crop_padding=1"]
    return [sys.executable, "-m", "deepreduce", "search", "resnet6", *settings, f"--out={out}", *arguments]


def test_a_driver_killed_and_started_again(cluster, bucket, tmp_path):
    images, out = write_folder(tmp_path / "images", 120), tmp_path / "out"
    store = f"{bucket}/driver"
    on_ray = ["--data", f"folder:{images}", "--executor", "ray", "--ray-address", cluster.address, "--store", store]
    objects = open_objects(store)

    def finished() -> dict[str, bytes]:
        contents = ((name, objects.read(f"jobs/{name}/metrics.json")) for name in objects.names("jobs"))
        return {name: content for name, content in contents if content is not None}

    driver = subprocess.Popen(search(out, *on_ray), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while len(finished()) < 4:
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    before = finished()
    done = subprocess.run(search(out, *on_ray), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads((out / "frontier.json").read_text())
    assert len(before) < len(content["networks"]) and content["failed"] == []
    for name, metrics in before.items():  # they tell seconds: what was trained again would differ
        assert (out / "jobs" / name / "metrics.json").read_bytes() == metrics
    recipe = make_recipe("quick", epochs=2, batch_size=32, crop_padding=1)
    alone = deepreduce.find_frontier(
        "resnet6", load(f"folder:{images}"), width=0.0625, recipe=recipe, out=tmp_path / "alone"
    )
    assert {n.job: n.validation_accuracy for n in alone.networks} == {
        n["job"]: n["validation_accuracy"] for n in content["networks"]
    }
    for network in alone.networks:
        ours, theirs = (root / "jobs" / network.job / "weights.safetensors" for root in (out, tmp_path / "alone"))
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_node_removed_in_mid_job(executor, cluster, tmp_path):
    """The last test: one node is left after it."""

    def remove(pid, raylet):
        (node,) = (node for node in cluster.worker_nodes if raylet_of(node) == raylet)
        cluster.remove_node(node, allow_graceful=False)

    job, heard = strike(executor, tmp_path, remove)
    assert len(cluster.worker_nodes) == 1
    assert_resumed(job, heard)
    assert_as_inline(job, tmp_path)
