"""What machines share: objects that are whole or not there, results that never change, checkpoints, data by digest."""

import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest
import torch

from deepreduce.data import snapshot
from deepreduce.errors import MissingPackageError, SettingError, StoreError
from deepreduce.jobs.cluster.object_store import FolderObjects, FsspecObjects, UnreachableError, open_object_store
from deepreduce.jobs.cluster.shared_store import Depot
from deepreduce.jobs.cluster.worker import Errand, Node, run_errand
from deepreduce.jobs.executors import EpochEnded, InlineExecutor, Started
from deepreduce.jobs.job import Job, Origin
from deepreduce.jobs.spec import JobSpec, network_digest
from deepreduce.jobs.store import JobStore
from deepreduce.networks import ModelSource
from deepreduce.train import make_recipe
from deepreduce.train.checkpoint import write_checkpoint
from s3_server import s3_server
from small_data import stripes_dataset

DATA = stripes_dataset()
EPOCHS = 5
KINDS = ["folder", "file", "memory", "s3", "renaming"]


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as url:
        yield url


@pytest.fixture(params=KINDS)
def objects(request, tmp_path):
    if request.param == "s3":
        return open_object_store(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")
    if request.param == "renaming":  # as of SFTP or HDFS: fsspec's own folders, which are not whole by themselves
        import fsspec

        return FsspecObjects(f"local://{tmp_path / 'store'}", fsspec.get_filesystem_class("local"))
    url = {"folder": str(tmp_path / "store"), "file": f"file://{tmp_path}/store", "memory": f"memory://{tmp_path}"}
    return open_object_store(url[request.param])


def file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# --- objects ---


def test_objects_of_every_kind(objects, tmp_path):
    big = os.urandom(3_000_000)
    assert objects.read("jobs/a/x") is None
    assert objects.names("jobs/a") == []
    assert not objects.download("jobs/a/x", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert objects.create("jobs/a/x", b"first")
    assert not objects.create("jobs/a/x", b"second")
    assert objects.read("jobs/a/x") == b"first"
    objects.upload(file(tmp_path / "u", big), "jobs/a/y")
    objects.upload(file(tmp_path / "u", big[1:]), "jobs/a/y")
    assert objects.download("jobs/a/y", tmp_path / "deep" / "d")
    assert (tmp_path / "deep" / "d").read_bytes() == big[1:]
    assert objects.names("jobs/a") == ["x", "y"]
    for _ in range(2):
        objects.delete("jobs/a/x")
    assert objects.names("jobs/a") == ["y"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["d"]


def test_of_many_that_create_one_object_one_succeeds(tmp_path):
    """In a folder; S3's conditional put is S3's to keep."""
    for attempt in range(20):
        start, won = threading.Barrier(8), []

        def create(number, attempt=attempt, start=start, won=won):
            mine = FolderObjects(tmp_path)
            start.wait()
            if mine.create(f"n{attempt}", b"%d" % number * 1000):
                won.append(number)

        threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert (tmp_path / f"n{attempt}").read_bytes() == b"%d" % won[0] * 1000
    assert len(list(tmp_path.iterdir())) == 20


@contextlib.contextmanager
def forked(target, *arguments):
    """``target(ready, *arguments)`` in a process of its own, which has set ``ready``; it is killed at the end."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=target, args=(ready, *arguments), daemon=True)
    process.start()
    try:
        assert ready.wait(60)
        yield process
    finally:
        process.kill()
        process.join()


def write_for_ever(ready, url, files):
    objects = open_object_store(url)
    while True:
        for path in files:
            objects.upload(path, "object")
            ready.set()


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_an_object_is_whole_whenever_its_writer_is_killed(kind, tmp_path, request):
    url = str(tmp_path / "store") if kind == "folder" else f"{request.getfixturevalue('bucket')}/killed"
    objects = open_object_store(url)
    files = [file(tmp_path / name, os.urandom(4_000_000 + size)) for name, size in (("a", 0), ("b", 999))]
    allowed = {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    objects.upload(files[0], "object")
    for pause_s in (0.01, 0.05, 0.1):
        with forked(write_for_ever, url, files):
            time.sleep(pause_s)
        assert hashlib.sha256(objects.read("object")).hexdigest() in allowed


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("", SettingError, "names no folder"),
        ("file://", SettingError, "names no folder"),
        ("s4://bucket/x", SettingError, "s4"),
        ("gs://bucket/x", MissingPackageError, "gcsfs"),
    ],
)
def test_stores_that_cannot_be_opened(url, error, says):
    with pytest.raises(error, match=says) as failure:
        open_object_store(url)
    assert "\n" not in str(failure.value)


def test_what_a_store_refuses_is_one_line(bucket, tmp_path):
    with pytest.raises(UnreachableError, match=r"nowhere/x: store\.json .*bucket does not exist") as failure:
        Depot.open(open_object_store("s3://nowhere/x"))
    assert "\n" not in str(failure.value)
    file(tmp_path / "file", b"")
    with pytest.raises(UnreachableError, match="cannot be written"):
        Depot.open(open_object_store(str(tmp_path / "file")))


# --- results ---


def finished(root: Path, value: float) -> JobStore:
    store = JobStore(root)
    store.finish("ab", {"w": torch.full((4,), value)}, {"validation_accuracy": value, "seconds": 1, "history": []})
    return store


def test_a_result_is_the_first_and_stays(objects, tmp_path):
    depot = Depot.open(objects)
    one, two = finished(tmp_path / "one", 1.0), finished(tmp_path / "two", 2.0)
    assert not depot.is_done("ab")
    depot.publish(one, "ab")
    depot.publish(two, "ab")  # on other hardware, by a search that knows nothing of the first
    names = depot.objects.names("jobs/ab")
    assert len([name for name in names if name.startswith("weights-")]) == 1
    fetched = JobStore(tmp_path / "fetched")
    Depot.join(objects, depot.identity).fetch("ab", fetched)
    for name in ("weights.safetensors", "metrics.json"):
        assert (fetched.folder("ab") / name).read_bytes() == (one.folder("ab") / name).read_bytes()


def test_results_that_were_damaged_are_refused(tmp_path):
    depot = Depot.open(open_object_store(str(tmp_path / "store")))
    depot.publish(finished(tmp_path / "one", 1.0), "ab")
    (weights,) = (tmp_path / "store" / "jobs" / "ab").glob("weights-*")
    good = weights.read_bytes()
    for bad in (b"", good[:-1], good[:-1] + b"x"):
        weights.write_bytes(bad)
        with pytest.raises(StoreError, match=r"is damaged.*only this job"):
            depot.fetch("ab", JobStore(tmp_path / "x"))
        assert not JobStore(tmp_path / "x").is_done("ab")
    weights.write_bytes(good)
    metrics = tmp_path / "store" / "jobs" / "ab" / "metrics.json"
    for text in ("{", "[]", "{}", '{"weights_sha256": "../../../etc/passwd"}', '{"weights_sha256": 7}'):
        metrics.write_text(text)
        with pytest.raises(StoreError, match="damaged"):
            depot.fetch("ab", JobStore(tmp_path / "x"))


def test_another_store_is_noticed(tmp_path):
    here = Depot.open(open_object_store(str(tmp_path / "a")))
    assert Depot.open(open_object_store(str(tmp_path / "a"))).identity == here.identity
    Depot.open(open_object_store(str(tmp_path / "b")))
    for other in ("b", "missing"):
        with pytest.raises(StoreError, match="not the driver's store on this machine"):
            Depot.join(open_object_store(str(tmp_path / other)), here.identity)
    assert not (tmp_path / "missing").exists()
    (tmp_path / "a" / "store.json").write_text('{"format": 99, "id": "x"}')
    with pytest.raises(StoreError, match="format 99"):
        Depot.open(open_object_store(str(tmp_path / "a")))


# --- checkpoints ---


def checkpoint(path: Path, value: float) -> Path:
    write_checkpoint(path, {"model": torch.nn.Linear(1, 1)}, value=value)
    return path


def test_the_highest_checkpoint_counts(objects, tmp_path):
    depot = Depot.open(objects)
    assert depot.last_epoch("ab") == depot.load_checkpoint("ab", tmp_path / "none") == 0
    files = {epoch: checkpoint(tmp_path / str(epoch), epoch) for epoch in (1, 2, 3)}
    depot.save_checkpoint("ab", 1, files[1])
    depot.save_checkpoint("ab", 3, files[3])
    assert depot.objects.names("jobs/ab") == ["epoch-000003.ckpt"]
    depot.save_checkpoint("ab", 2, files[2])  # of a worker that was thought dead
    assert depot.last_epoch("ab") == depot.load_checkpoint("ab", tmp_path / "found") == 3
    assert (tmp_path / "found").read_bytes() == files[3].read_bytes()
    damaged = bytearray(files[3].read_bytes())
    damaged[-1] ^= 1
    objects.upload(file(tmp_path / "damaged", bytes(damaged)), "jobs/ab/epoch-000003.ckpt")
    assert depot.load_checkpoint("ab", tmp_path / "found") == 2
    assert (tmp_path / "found").read_bytes() == files[2].read_bytes()
    depot.publish(finished(tmp_path / "one", 1.0), "ab")
    assert depot.last_epoch("ab") == 0


# --- a node's work ---


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> tuple[Job, Job]:
    """A teacher and its student, done by the InlineExecutor: what they must come out as is in their store."""
    return make_jobs(tmp_path_factory.mktemp("inline"))


def make_jobs(root: Path) -> tuple[Job, Job]:
    recipe = make_recipe("quick", epochs=EPOCHS, batch_size=32, crop_padding=1)
    source = ModelSource("resnet6", 0.0625)
    network = network_digest(source.build(DATA.input_shape, 2, 0))
    snapshot.save(DATA, root / "data.safetensors")
    teacher = JobSpec(network, "resnet6", "stem+S1+S2+S3+S4", DATA.digest, recipe, 0)
    student = dataclasses.replace(teacher, point="S2+S3", teacher=teacher.digest)
    first = Job(teacher, source, root / "jobs", root / "data.safetensors")
    jobs = first, dataclasses.replace(first, spec=student, needs=(Origin(teacher, source),))
    executor = InlineExecutor("cpu")
    for job in jobs:
        future = executor.submit(job)
        executor.poll(lambda event: None)
        future.result()
    return jobs


class Killed(BaseException):
    """What SIGKILL looks like from inside."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A store with the data in it, and a node's scratch folder."""
    monkeypatch.setenv("DEEPREDUCE_SCRATCH", str(tmp_path / "scratch"))
    return Depot.open(open_object_store(str(tmp_path / "store")))


def errand(depot: Depot, job: Job) -> Errand:
    depot.put_data(job.spec.data, job.snapshot)
    elsewhere = dataclasses.replace(job, store=Path("/nowhere/jobs"), snapshot=Path("/nowhere/data"))
    return Errand(elsewhere, depot.objects.url, depot.identity)


def assert_same(depot: Depot, job: Job, root: Path) -> None:
    """The result in the store is that of the InlineExecutor, to the last bit."""
    fetched = JobStore(root / "fetched")
    depot.fetch(job.spec.digest, fetched)
    ours, theirs = (JobStore(r).folder(job.spec.digest) / "weights.safetensors" for r in (fetched.root, job.store))
    assert ours.read_bytes() == theirs.read_bytes()


def test_killed_after_every_epoch_no_epoch_is_trained_twice(place, jobs, tmp_path):
    teacher, student = jobs
    place.publish(JobStore(teacher.store), teacher.spec.digest)
    trained: list[int] = []
    for _ in range(EPOCHS):

        def tell(event):
            if isinstance(event, EpochEnded):
                trained.append(event.record.epoch)
                raise Killed

        with pytest.raises(Killed):
            run_errand(errand(place, student), "cpu", tell)
        assert place.last_epoch(student.spec.digest) == len(trained)
    heard = []
    run_errand(errand(place, student), "cpu", heard.append)
    assert trained == list(range(1, EPOCHS + 1))
    assert heard == [Started(student.spec.digest)]  # all epochs were there
    assert_same(place, student, tmp_path)
    run_errand(errand(place, dataclasses.replace(student, test=True)), "cpu", heard.append)
    assert place.is_done(student.spec.digest, test=True)
    assert list((tmp_path / "scratch" / place.identity / "tasks").iterdir()) == []


def test_two_workers_on_one_job_do_no_harm(place, jobs, tmp_path):
    """One is thought dead after its second epoch; another takes over and dies, then a third finishes."""
    job = jobs[0]

    def dies(event):
        if isinstance(event, EpochEnded) and event.record.epoch == 4:
            raise Killed

    heard = []

    def first(event):
        heard.append(event)
        if isinstance(event, EpochEnded) and event.record.epoch == 2:
            with pytest.raises(Killed):
                run_errand(errand(place, job), "cpu", dies)
        if isinstance(event, EpochEnded) and event.record.epoch == 3:
            assert place.last_epoch(job.spec.digest) == 4  # its own third epoch did not take the other's place
            run_errand(errand(place, job), "cpu", lambda event: None)

    run_errand(errand(place, job), "cpu", first)
    assert [event.record.epoch for event in heard[1:]] == [1, 2, 3]  # and then it noticed
    assert_same(place, job, tmp_path)
    assert len(place.objects.names(f"jobs/{job.spec.digest}")) == 3  # spec, weights, metrics


def test_a_node_fetches_once_and_checks(place, jobs, tmp_path, monkeypatch):
    job = jobs[0]
    place.put_data(DATA.digest, job.snapshot)
    fetched: list[str] = []
    download = FolderObjects.download

    def counted(self, name, path):
        fetched.append(name)
        return download(self, name, path)

    monkeypatch.setattr(FolderObjects, "download", counted)
    for _ in range(3):
        assert snapshot.restore(Node(place, tmp_path / "scratch").data(DATA.digest)).digest == DATA.digest
    assert fetched == [f"data/{DATA.digest}.safetensors"]
    path = tmp_path / "store" / "data" / f"{DATA.digest}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        Node(place, tmp_path / "other").data(DATA.digest)
    path.unlink()
    with pytest.raises(StoreError, match="has no data"):
        Node(place, tmp_path / "other").data(DATA.digest)


def sleep_in_a_task(ready, url, scratch):
    with Node(Depot.open(open_object_store(url)), scratch).task():
        ready.set()
        time.sleep(600)


def test_what_a_killed_task_left_is_removed_and_what_lives_is_not(place, tmp_path):
    scratch = tmp_path / "scratch"
    with forked(sleep_in_a_task, place.objects.url, scratch):
        with forked(sleep_in_a_task, place.objects.url, scratch):
            pass
        assert len(list((scratch / place.identity / "tasks").iterdir())) == 2
        with Node(place, scratch).task():
            assert len(list((scratch / place.identity / "tasks").iterdir())) == 2


def test_a_scratch_folder_that_others_may_write_is_refused(place, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("open", "link"):
        with pytest.raises(StoreError, match="others may write"):
            Node(place, tmp_path / name)
