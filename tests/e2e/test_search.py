"""Whole searches: real trainings, real worker processes, killed and resumed."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import deepreduce
from deepreduce.data.dataset import Split, assemble
from deepreduce.errors import ModelError, PointError, SettingError, StoreError, TrainingError
from deepreduce.export import frontier_data
from deepreduce.jobs import JobObserver
from deepreduce.jobs.executors import InlineExecutor
from deepreduce.networks import build_zoo
from deepreduce.plan import read_plan
from deepreduce.train import accuracy, make_recipe
from deepreduce.train.augment import Normalizer
from small_data import stripes, stripes_dataset, write_folder

RECIPE = make_recipe("quick", epochs=2, batch_size=32, crop_padding=1)
DATA = stripes_dataset()
NETWORKS = 1 + 2 * 4 + 5 * 3 - 1  # the last culled network is a profiling run


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deepreduce", *arguments]


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "images")


def settings(images: Path, out: Path, **changes: str) -> list[str]:
    options = {"data": f"folder:{images}", "width": "0.0625", "epochs": "2", "batch-size": "32", "out": str(out)}
    options |= {"recipe": "quick", **changes}
    return ["search", "resnet10", *(part for name, value in options.items() for part in (f"--{name}", value))]


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory) -> Path:
    """A search through the command line with two workers, never interrupted."""
    out = tmp_path_factory.mktemp("finished") / "out"
    done = run(*settings(images, out, jobs="2"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"directory": str(out), **json.loads((out / "frontier.json").read_text())}
    return out


def networks(out: Path) -> dict[str, tuple]:
    content = json.loads((out / "frontier.json").read_text())
    return {
        n["job"]: (n["name"], n["relus"], n["validation_accuracy"], n["test_accuracy"]) for n in content["networks"]
    }


def test_a_whole_search(finished):
    content = json.loads((finished / "frontier.json").read_text())
    assert len(content["networks"]) == NETWORKS
    assert content["failed"] == []
    assert [n["role"] for n in content["networks"]].count("teacher") == 1
    assert len(content["criticality"]) == 4
    assert content["criticality"][0]["criticality"] == 0
    order = [row["stage"] for row in content["criticality"]]
    culled = sorted((n["name"] for n in content["networks"] if n["step"] == "culled"), key=len, reverse=True)
    assert culled == ["+".join(s for s in ("S1", "S2", "S3", "S4") if s in order[k:]) for k in (1, 2, 3)]
    for network in content["networks"]:  # test images are read for the frontier and the teacher only
        assert (network["test_accuracy"] is not None) == (network["on_frontier"] or network["role"] == "teacher")
        assert (finished / "jobs" / network["job"] / "test.json").exists() == (network["test_accuracy"] is not None)
    assert not list(finished.glob("jobs/*/last.ckpt"))
    assert not (finished / "data.safetensors").exists()


def test_errors_by_class_add_up_to_the_validation_accuracy(finished):
    """Of what was tested, and of nothing else: they are read together."""
    content = json.loads((finished / "frontier.json").read_text())
    for network in content["networks"]:
        path = finished / "jobs" / network["job"] / "test.json"
        assert path.exists() == (network["test_accuracy"] is not None)
        if path.exists():
            found = json.loads(path.read_text())["validation_classes"]
            assert sum(found["images"]) == content["data"]["validation"]
            assert 100 * sum(found["correct"]) / sum(found["images"]) == pytest.approx(network["validation_accuracy"])
            wrong = [n - right for n, right in zip(found["images"], found["correct"], strict=True)]
            assert wrong == found["taken_for_images"]  # of two classes
            assert found["taken_for"] == [1 if wrong[0] else None, 0 if wrong[1] else None]


class Stopping(JobObserver):
    """Stops the search when three trainings have ended."""

    left = 3

    def ended(self, digest, metrics):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_the_report_of_a_search_that_was_stopped(tmp_path):
    """What was trained is there; the finished search leaves nothing of it."""
    arguments = {"data": DATA, "out": tmp_path / "out", "width": 0.0625, "recipe": RECIPE}
    with pytest.raises(KeyboardInterrupt):
        deepreduce.find_frontier("resnet6", observer=Stopping(), **arguments)
    shown = run("report", str(tmp_path / "out"))
    assert shown.returncode == 0, shown.stderr
    done, planned = map(int, re.search(r"(\d+) of (\d+) trainings done", shown.stderr).groups())
    rows = (tmp_path / "out" / "frontier.csv").read_text().splitlines()[1:]
    assert done in (2, 3) and len(rows) == done  # the third may have ended before what is there was written
    frontier = deepreduce.find_frontier("resnet6", **arguments)
    assert len(frontier.networks) <= planned <= len(frontier.networks) + 10
    assert not (tmp_path / "out" / "progress.json").exists()
    assert "not finished" not in run("report", str(tmp_path / "out")).stderr


def test_the_same_command_again_repeats_no_job(images, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("jobs/*/*") if path.name != "lock"}
    done = run(*settings(images, finished, jobs="2"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done before") == NETWORKS
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.long
def test_killed_at_any_moment_and_resumed(images, finished, tmp_path):
    out = tmp_path / "out"
    kept: dict[Path, int] = {}
    for wanted in (2, 9):
        process = subprocess.Popen(command(*settings(images, out, jobs="2")), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(list(out.glob("jobs/*/metrics.json"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        workers = children(process.pid)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in kept.items())
        kept = {path: path.stat().st_mtime_ns for path in out.glob("jobs/*/metrics.json")}
        assert len(kept) >= wanted
        wait_until_gone(workers)
    done = run(*settings(images, out, jobs="2"))
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in kept.items())
    assert networks(out) == networks(finished)  # the same weights, to the last bit of every accuracy
    for job in networks(out):
        ours, theirs = (d / "jobs" / job / "weights.safetensors" for d in (out, finished))
        assert ours.read_bytes() == theirs.read_bytes()


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(text) for text in found.stdout.split()]


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "workers outlive their driver"
        time.sleep(0.1)


ENDINGS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
HINT = "error: interrupted\nhint: run the same command again: it goes on where it was\n"


@pytest.mark.parametrize("to_group", [False, True], ids=["process", "group"])
@pytest.mark.parametrize(("number", "code"), ENDINGS, ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_search_with_one_hint(images, tmp_path, number, code, to_group):
    """The driver's own message is all of standard error: no traceback, nothing about semaphores or descriptors."""
    out = tmp_path / "out"
    process = started(*settings(images, out, jobs="2", epochs="50"))
    deadline = time.monotonic() + 120
    while not list(out.glob("jobs/*/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = children(process.pid)
    (os.killpg if to_group else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (code, HINT)
    wait_until_gone(workers)
    assert list(out.glob("jobs/*/last.ckpt"))  # where the next call goes on


@pytest.mark.parametrize(("number", "code"), ENDINGS, ids=["SIGINT", "SIGTERM"])
def test_a_signal_while_workers_start_leaves_nothing_else(images, tmp_path, number, code):
    process = started(*settings(images, tmp_path / "out", jobs="2", epochs="50"))
    deadline = time.monotonic() + 120
    while len(children(process.pid)) < 2 and time.monotonic() < deadline:  # the tracker of resources and a worker
        time.sleep(0.002)
    workers = children(process.pid)
    process.send_signal(number)
    process.send_signal(number)  # the second changes nothing
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (code, HINT)
    wait_until_gone(workers)


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), stderr=subprocess.PIPE, text=True, stdout=subprocess.PIPE, start_new_session=True
    )


def test_a_worker_that_dies_costs_its_own_job_only(images, tmp_path):
    (tmp_path / "fragile.py").write_text(
        "import os, signal, multiprocessing\n"
        "from pathlib import Path\n"
        "from deepreduce.networks import build_zoo\n"
        "def build(num_classes, input_shape):\n"
        "    if multiprocessing.parent_process() is not None:\n"
        "        calls = Path(__file__).with_name('calls')\n"
        "        with calls.open('a') as f: f.write('x')\n"
        "        if calls.stat().st_size == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return build_zoo('resnet6', width=0.0625, input_shape=input_shape, num_classes=num_classes)\n"
    )
    out = tmp_path / "out"
    arguments = settings(images, out, jobs="1", width="1")
    arguments[1] = f"{tmp_path / 'fragile.py'}:build"
    done = run(*arguments)
    assert done.returncode == 3, done.stderr
    content = json.loads((out / "frontier.json").read_text())
    assert [f["error"].startswith("its process died") for f in content["failed"]] == [True]
    assert len(content["networks"]) > 10
    again = run(*arguments)  # the failed job is tried again, and now succeeds
    assert again.returncode == 0, again.stderr
    assert json.loads((out / "frontier.json").read_text())["failed"] == []


class Failing(InlineExecutor):
    """Fails the jobs whose point contains a text."""

    def __init__(self, text: str) -> None:
        super().__init__("cpu")
        self.text = text

    def submit(self, job):
        future = super().submit(job)
        if self.text in job.spec.point and not job.test:
            self._waiting.pop()
            future.set_exception(TrainingError("the loss is nan in epoch 1", "lower the learning rate"))
        return future


def test_failed_jobs_are_reported_and_the_rest_goes_on(tmp_path):
    frontier = deepreduce.find_frontier(
        "resnet6", DATA, width=0.0625, recipe=RECIPE, out=tmp_path, executor=Failing("alpha")
    )
    failed = frontier.content["failed"]
    assert len(failed) == 6
    assert all("nan" in f["error"] and "alpha" in f["name"] for f in failed)
    assert len(frontier) > 0
    with pytest.raises(TrainingError, match="the teacher failed"):
        deepreduce.find_frontier(
            "resnet6", DATA, width=0.0625, recipe=RECIPE, out=tmp_path / "2", executor=Failing("stem")
        )


def test_the_frontier_gives_back_networks(tmp_path):
    module = build_zoo("resnet6", width=0.0625, input_shape=DATA.input_shape, num_classes=2)
    frontier = deepreduce.find_frontier(module, DATA, recipe=RECIPE, out=tmp_path / "search")
    assert len(frontier) >= 1
    relus = [point.relus for point in frontier]
    assert relus == sorted(relus, reverse=True)
    assert frontier[frontier[0].name] == frontier[0]
    normalize = Normalizer(DATA.mean, DATA.std, torch.device("cpu"), True)
    for source in (frontier, deepreduce.Frontier.load(frontier.save(tmp_path / "copy"), model=module)):
        for point in source:
            network = source.module(point)
            assert network.relus == point.relus
            assert accuracy(network, DATA.validation, normalize) == pytest.approx(point.validation_accuracy)
            assert accuracy(network, DATA.test, normalize) == pytest.approx(point.test_accuracy)
    assert frontier.plot(tmp_path / "f.svg").read_text().lstrip().startswith("<?xml")
    assert "Frontier of" in repr(frontier)
    with pytest.raises(PointError, match="no network 'S9'"):
        frontier.module("S9")
    with pytest.raises(ModelError, match=r"model=\.\.\."):
        deepreduce.Frontier.load(tmp_path / "copy").module(0)
    with pytest.raises(StoreError, match="no finished search"):
        deepreduce.Frontier.load(tmp_path)


def test_a_source_that_changes_under_way_is_noticed(tmp_path):
    """A factory that torch.manual_seed does not fix: no job may be filed under a network it is not."""
    path = tmp_path / "drifting.py"
    path.write_text(
        "import itertools\nfrom deepreduce.networks import build_zoo\ncalls = itertools.count()\n"
        "def build(num_classes, input_shape):\n"
        "    width = 0.0625 if next(calls) < 4 else 0.125\n"
        "    return build_zoo('resnet6', width=width, input_shape=input_shape, num_classes=num_classes)\n"
    )
    with pytest.raises(TrainingError, match="every profiling run failed"):
        deepreduce.find_frontier(f"{path}:build", DATA, recipe=RECIPE, out=tmp_path / "out")
    specs = [json.loads(p.read_text()) for p in (tmp_path / "out").glob("jobs/*/spec.json")]
    finished = [p.parent.name for p in (tmp_path / "out").glob("jobs/*/metrics.json")]
    assert len(finished) < len(specs)


def test_new_data_in_an_old_folder_is_not_mixed_up(tmp_path):
    """Notebook use: the folder is deleted and used again in one process."""
    other = assemble("other", ("h", "v"), stripes(96, 7), stripes(40, 8), stripes(40, 9))
    deepreduce.find_frontier("resnet6", DATA, width=0.0625, recipe=RECIPE, out=tmp_path / "a")
    shutil.rmtree(tmp_path / "a")
    again = deepreduce.find_frontier("resnet6", other, width=0.0625, recipe=RECIPE, out=tmp_path / "a")
    fresh = deepreduce.find_frontier("resnet6", other, width=0.0625, recipe=RECIPE, out=tmp_path / "b")
    assert [n.validation_accuracy for n in again.networks] == [n.validation_accuracy for n in fresh.networks]


def test_a_point_that_cannot_be_made_is_left_out(tmp_path):
    """VGG16 halves 32 pixels five times: with rho = 0.5 nothing would be left."""

    def split(n: int) -> Split:
        return Split(torch.randint(0, 256, (n, 1, 32, 32), dtype=torch.uint8), torch.arange(n) % 2)

    data = assemble("noise", ("a", "b"), split(4), split(2), split(2))
    recipe = dataclasses.replace(RECIPE, epochs=1)
    frontier = deepreduce.find_frontier("vgg16", data, width=0.02, recipe=recipe, out=tmp_path)
    assert frontier.content["failed"] == []
    assert any("rho=0.5 cannot be made" in text for text in frontier.content["data"]["notices"])
    assert {n.step for n in frontier.networks} >= {"culled", "channels"}


def test_settings_are_refused_before_anything_is_trained(tmp_path):
    def search(**changes):
        return deepreduce.find_frontier("resnet6", DATA, width=0.0625, recipe=RECIPE, out=tmp_path / "x", **changes)

    with pytest.raises(SettingError, match="exponent 11"):
        search(exponent=11)
    with pytest.raises(SettingError, match="seed"):
        search(seed=2**40)
    assert not (tmp_path / "x").exists()
    with pytest.raises(SettingError, match="jobs=1"):
        deepreduce.find_frontier(lambda: build_small(), DATA, recipe=RECIPE, out=tmp_path / "y", jobs=2)


def build_small():
    return build_zoo("resnet6", width=0.0625, input_shape=DATA.input_shape, num_classes=2)


def test_where_it_runs_is_not_part_of_a_search(finished):
    content = json.loads((finished / "search.json").read_text())
    assert "jobs" not in content["identity"]
    assert "device" not in json.dumps(content)


def test_a_user_network_of_branches_is_searched(tmp_path):
    example = Path(__file__).parents[2] / "examples" / "my_network.py"
    recipe = dataclasses.replace(RECIPE, epochs=1)
    frontier = deepreduce.find_frontier(f"{example}:build", DATA, recipe=recipe, out=tmp_path, jobs=2)
    assert frontier.content["failed"] == []
    assert len(frontier.networks) == 1 + 2 * 3 + 5 * 2 - 1
    assert {"channels", "resolution", "both"} <= {n.step for n in frontier.networks}
    assert (tmp_path / "frontier.json").is_file()


UNPLANNED = """
from torch import nn
import torch.nn.functional as F

class Network(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.early, self.late = nn.Conv2d(in_channels, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.act, self.top, self.softmax = {operation}, nn.Linear(4, num_classes), nn.Softmax(dim=1)

    def forward(self, x):
        x = F.relu(self.late(self.act(F.relu(self.early(x)))))
        return self.softmax(self.top(x.mean((2, 3))))
"""


def test_a_network_that_no_plan_can_hold_is_refused_before_any_training(images, tmp_path):
    (tmp_path / "net.py").write_text(UNPLANNED.format(operation="nn.GELU()"))
    options = ["--data", f"folder:{images}", "--out", str(tmp_path / "out"), "--recipe", "quick", "--epochs", "1"]
    done = run("search", f"{tmp_path / 'net.py'}:Network", *options)
    assert done.returncode == 2
    assert "the network cannot run in private: act: gelu cannot be put into a plan" in done.stderr
    assert "replace them by ReLU" in done.stderr and "--no-private searches all the same" in done.stderr
    assert not (tmp_path / "out").exists(), "nothing was trained"
    done = run("search", f"{tmp_path / 'net.py'}:Network", *options, "--no-private", "--json")
    assert done.returncode == 0, done.stderr


def test_a_network_that_ends_in_a_softmax_is_trained_by_its_logits(images, tmp_path):
    (tmp_path / "net.py").write_text(UNPLANNED.format(operation="nn.BatchNorm2d(4)"))
    frontier = deepreduce.find_frontier(
        f"{tmp_path / 'net.py'}:Network", f"folder:{images}", recipe=RECIPE, out=tmp_path / "out"
    )
    assert any("the final softmax is left out" in notice for notice in frontier.content["data"]["notices"])
    with torch.no_grad():
        answers = frontier.module(0)(torch.randn(3, 1, 8, 8))
    assert not torch.allclose(answers.sum(1), torch.ones(3)), "logits, not probabilities"
    exported = deepreduce.export_point(frontier, frontier.best(max_loss=100), evaluate=0)
    assert any("the final softmax is left out" in notice for notice in exported.notices)


def test_given_weights_are_the_teacher(images, tmp_path):
    """The full network is not trained again: its weights are those given, and students distill from them."""
    torch.manual_seed(5)
    trained = build_zoo("resnet6", width=0.0625, input_shape=(1, 8, 8), num_classes=2)
    torch.save({"state_dict": {f"module.{k}": v for k, v in trained.state_dict().items()}}, tmp_path / "mine.pt")
    options = ["search", "resnet6", "--width", "0.0625", "--data", f"folder:{images}", "--recipe", "quick"]
    options += ["--epochs", "1", "--weights", str(tmp_path / "mine.pt"), "--normalize", "none"]
    done = run(*options, "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert f"the full network is not trained: it has the weights of {tmp_path / 'mine.pt'}" in said
    frontier = deepreduce.Frontier.load(tmp_path / "out")
    assert frontier.teacher.epochs == 0 and frontier.teacher.seconds == 0 and frontier.teacher.test_accuracy is not None
    module = frontier.module("full")
    for name, tensor in trained.state_dict().items():
        assert torch.equal(module.body.state_dict()[name], tensor), name
    data = frontier_data(frontier)
    assert (data.mean, data.std) == ((0.0,), (1.0,)) and data.digest == frontier.content["data"]["digest"]
    normalize = Normalizer(data.mean, data.std, torch.device("cpu"), channels_last=False)
    assert frontier.teacher.validation_accuracy == pytest.approx(accuracy(module, data.validation, normalize))
    assert any("the full network is not trained" in notice for notice in frontier.content["data"]["notices"])
    distilled = [n for n in frontier.networks if n.kd]
    specs = [json.loads((tmp_path / "out/jobs" / n.job / "spec.json").read_text()) for n in distilled]
    assert distilled and all(spec["teacher"] == frontier.teacher.job for spec in specs)
    assert all(n.epochs == 1 for n in frontier.networks if n.role != "teacher")

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "jobs").rglob("metrics.json")}
    assert run(*options, "--out", str(tmp_path / "out")).returncode == 0
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "jobs").rglob("metrics.json")}
    assert after == before, "the same search goes on where it was"
    torch.save({k: 2 * v for k, v in trained.state_dict().items()}, tmp_path / "mine.pt")
    done = run(*options, "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "holds another search: its weights is" in done.stderr

    done = run("export", str(tmp_path / "out"), "--point", "full", "--evaluate", "5", "--out", str(tmp_path / "plan"))
    assert done.returncode == 0, done.stderr
    pictures = read_plan(tmp_path / "plan" / "plan.json").pictures
    assert pictures is not None and (pictures.mean, pictures.std) == ((0,), (2**16,))


def test_a_state_dict_can_be_the_teacher(tmp_path):
    trained = build_zoo("resnet6", width=0.0625, input_shape=(1, 8, 8), num_classes=2)
    frontier = deepreduce.find_frontier(
        "resnet6", DATA, width=0.0625, recipe=RECIPE, weights=trained.state_dict(), out=tmp_path / "out"
    )
    assert frontier.teacher.epochs == 0 and "weights" in frontier.content["settings"]
    with pytest.raises(ModelError, match="the state dict has no"):
        deepreduce.find_frontier("resnet6", DATA, width=0.0625, weights={}, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()
