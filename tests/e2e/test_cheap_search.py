"""The search for a quarter of the work: real trainings on digits, killed and resumed, and what they cost."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import deepreduce
from deepreduce.errors import SettingError, StoreError
from deepreduce.jobs.executors import InlineExecutor
from deepreduce.jobs.observer import JobObserver
from deepreduce.reduce.front_padding import is_front_padded
from deepreduce.report import write_report
from deepreduce.train import accuracy, make_recipe
from deepreduce.train.augment import Normalizer
from small_data import stripes_dataset

RECIPE = make_recipe("quick", epochs=4, batch_size=16, crop_padding=1)
DATA = stripes_dataset()
SETTINGS = (
    "--data digits --width 0.0625 --epochs 1 --batch-size 64 --jobs 2 --compute-budget quarter --no-front-padding"
)
# 4 stages alone and 3 x 4 candidates (no stage of resnet6 can be thinned), of which one is both; a third goes on.
FIRST, SECOND = 15, 5


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "deepreduce", "search", "resnet6", *SETTINGS.split(), "--out", str(out)]


def content(out: Path) -> dict:
    return json.loads((out / "frontier.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A search on digits through the command line, killed in the first rung and resumed."""
    out = tmp_path_factory.mktemp("finished") / "out"
    process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 240
    while len(list(out.glob("jobs/*/metrics.json"))) < 9 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)  # its workers, too: one could end another job before it is counted
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("jobs/*/metrics.json")}
    done = subprocess.run(command(out), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done before") == len(kept) < FIRST
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in kept.items())
    assert "compute: 2" in done.stdout
    return out


def passes(recipe: dict, images: int) -> int:
    return recipe["epochs"] * min(recipe["epoch_images"] or images, images)


def test_at_most_a_quarter_is_spent(finished):
    """Counted again from the jobs on disk, and the full search from the networks that it would train."""
    found = content(finished)
    effort, images = found["effort"], found["data"]["train"]
    specs = [json.loads(path.read_text()) for path in finished.glob("jobs/*/spec.json")]
    macs = {n["name"]: n["macs"] for n in found["networks"]}
    teacher = next(n["macs"] for n in found["networks"] if n["role"] == "teacher")
    spent = sum(passes(s["recipe"], images) * (3 * macs[s["point"]] + (teacher if s["teacher"] else 0)) for s in specs)
    alone = [n for n in found["networks"] if n["name"] in {row["stage"] for row in found["criticality"]}]
    distilled = [n["macs"] for n in found["networks"] if n["role"] != "teacher"]
    full = images * (3 * teacher + sum(3 * n["macs"] for n in alone) + sum(3 * m + teacher for m in distilled))
    assert len(alone) == 4
    assert effort["full_macs"] == full
    assert effort["spent_macs"] == effort["planned_macs"] == spent
    assert 0.9 * full / 4 < spent <= full / 4


def test_every_training_is_told(finished):
    found = content(finished)
    first, second = found["effort"]["rungs"]
    told = {job["job"] for rung in (first, second) for job in rung["jobs"]}
    trained = {path.parent.name for path in finished.glob("jobs/*/metrics.json")}
    teacher = next(n["job"] for n in found["networks"] if n["role"] == "teacher")
    assert (len(first["jobs"]), len(second["jobs"])) == (FIRST, SECOND)
    assert told | {teacher} == trained
    assert len(found["networks"]) == 1 + FIRST  # each once
    continued = {job["start"]: job for job in second["jobs"]}
    assert continued.keys() <= {job["job"] for job in first["jobs"]}
    kept = {n["job"] for n in found["networks"]}
    for job in second["jobs"]:
        before = next(j for j in first["jobs"] if j["job"] == job["start"])
        assert job["name"] == before["name"]
        better = job if job["validation_accuracy"] >= before["validation_accuracy"] else before
        assert kept & {job["job"], before["job"]} == {better["job"]}
    assert all(row["accuracy_without_kd"] is None for row in found["criticality"])
    assert found["hypervolume"]["reference"]["origin"] == "chance"


class Stopped(InlineExecutor):
    """Is interrupted at the end of the n-th training."""

    def __init__(self, after: int) -> None:
        super().__init__("cpu")
        self.left = after

    def poll(self, handle) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        super().poll(handle)


@pytest.mark.long
def test_interrupted_in_either_rung_it_ends_the_same(tmp_path):
    def search(out: Path, executor: InlineExecutor | None = None) -> deepreduce.Frontier:
        return deepreduce.find_frontier(
            "resnet6", DATA, width=0.0625, recipe=RECIPE, out=out, compute_budget="quarter", executor=executor
        )

    for after in (8, 1 + FIRST + 2 - 8):
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "stopped", Stopped(after))
    again, whole = search(tmp_path / "stopped"), search(tmp_path / "whole")
    for one, other in zip(again.networks, whole.networks, strict=True):
        assert replace(one, seconds=0) == replace(other, seconds=0)
        weights = [f.directory / "jobs" / one.job / "weights.safetensors" for f in (again, whole)]
        assert weights[0].read_bytes() == weights[1].read_bytes()
    assert again.content["hypervolume"] == whole.content["hypervolume"]


def test_padding_is_recorded_and_followed(finished):
    frontier = deepreduce.Frontier.load(finished)
    assert frontier.content["settings"]["front_padding"] is False
    reduced = next(n for n in frontier.networks if n.step == "resolution")
    network = frontier.module(reduced)
    assert not is_front_padded(network)
    assert deepreduce.count(network).total.macs == reduced.macs
    exported = deepreduce.export_point(frontier, reduced.name, evaluate=0)
    assert exported.convs_after <= exported.convs_before


class Totals(JobObserver):
    """Keeps what was expected and what was planned."""

    def __init__(self) -> None:
        self.expected: list[int] = []
        self.jobs: list[str] = []

    def expect(self, jobs: int) -> None:
        self.expected.append(jobs)

    def planned(self, job) -> None:
        self.jobs.append(job.digest)


def test_the_number_of_trainings_is_known_from_the_start(tmp_path):
    totals = Totals()
    frontier = deepreduce.find_frontier(
        "resnet6", DATA, width=0.0625, recipe=RECIPE, out=tmp_path, compute_budget="quarter", observer=totals
    )
    assert set(totals.expected) == {1 + FIRST + SECOND} == {len(set(totals.jobs))}
    normalize = Normalizer(DATA.mean, DATA.std, torch.device("cpu"), True)
    for point in frontier:
        score = accuracy(frontier.module(point), DATA.validation, normalize)
        assert score == pytest.approx(point.validation_accuracy)
    with pytest.raises(StoreError, match="its effort is quarter, not full"):
        deepreduce.find_frontier("resnet6", DATA, width=0.0625, recipe=RECIPE, out=tmp_path)
    assert "% of the full search" in next(p for p in write_report(tmp_path) if p.suffix == ".html").read_text()


class FailingInTheSecondRung(InlineExecutor):
    """Fails every training that goes on from another one of its network."""

    def submit(self, job):
        future = super().submit(job)
        own = any(need.spec.digest == job.spec.start and need.spec.point == job.spec.point for need in job.needs)
        if own and not job.test:
            self._waiting.pop()
            future.set_exception(RuntimeError("lost"))
        return future


def test_what_fails_in_the_second_rung_stands_as_it_was_after_the_first(tmp_path):
    frontier = deepreduce.find_frontier(
        "resnet6",
        DATA,
        width=0.0625,
        recipe=RECIPE,
        out=tmp_path,
        compute_budget="quarter",
        executor=FailingInTheSecondRung(),
    )
    assert len(frontier.content["failed"]) == SECOND
    assert len(frontier.networks) == 1 + FIRST
    effort = frontier.content["effort"]
    assert effort["spent_macs"] < effort["planned_macs"] <= effort["budget_macs"]


def test_a_teacher_that_takes_a_quarter_alone_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("deepreduce.search.strategies.quarter.QUARTER", 0.04)
    with pytest.raises(SettingError, match="the teacher alone takes"):
        deepreduce.find_frontier("resnet6", DATA, width=0.0625, recipe=RECIPE, out=tmp_path, compute_budget="quarter")


def test_an_unknown_effort_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(SettingError, match="compute budget 'half'"):
        deepreduce.find_frontier(
            "resnet6", DATA, width=0.0625, recipe=RECIPE, out=tmp_path / "x", compute_budget="half"
        )
    assert not (tmp_path / "x").exists()
