"""A whole search with every ingredient of the strong recipe, through the command line, killed and resumed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import deepreduce
from deepreduce.jobs.store import JobStore
from small_data import write_folder

STAGES = ("stem=relu", "A=layer1.*,layer2.*", "B=layer3.*,layer4.*")  # D = 2: nine trainings
CHANGES = ("anneal=0.5", "attention_weight=100", "ema_decay=0.9", "label_smoothing=0.1", "crop_padding=1")


def command(images: Path, out: Path) -> list[str]:
    options = {"data": f"folder:{images}", "width": "0.125", "recipe": "strong", "epochs": "3", "batch-size": "32"}
    options |= {"out": str(out), "teacher-set": "cutmix=0.5"}
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    given += [part for text in STAGES for part in ("--stage", text)]
    given += [part for text in CHANGES for part in ("--set", text)]
    return [sys.executable, "-m", "deepreduce", "search", "resnet6", *given]


def run(images: Path, out: Path) -> None:
    done = subprocess.run(command(images, out), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    run(images, out)
    return out


def test_it_is_what_was_asked_for(finished):
    content = json.loads((finished / "frontier.json").read_text())
    assert content["failed"] == []
    assert len(content["networks"]) == 9
    settings = content["settings"]
    assert settings["recipe"]["name"] == "strong" and settings["recipe"]["anneal"] == 0.5
    assert settings["teacher_recipe"]["name"] == "strong-teacher" and settings["teacher_recipe"]["cutmix"] == 0.5
    assert settings["teacher_recipe"]["epochs"] == settings["recipe"]["epochs"] == 3
    specs = {
        n["job"]: json.loads((finished / "jobs" / n["job"] / "spec.json").read_text()) for n in content["networks"]
    }
    recipes = {n["job"]: specs[n["job"]]["recipe"]["name"] for n in content["networks"]}
    teacher = next(n["job"] for n in content["networks"] if n["role"] == "teacher")
    assert {job for job, name in recipes.items() if name == "strong-teacher"} == {teacher}
    for network in content["networks"]:  # 1.5 of 3 epochs fade: the first two do not count
        if network["job"] != teacher:
            metrics = json.loads((finished / "jobs" / network["job"] / "metrics.json").read_text())
            assert metrics["best_epoch"] >= 2


def test_its_networks_are_plain_reduced_ones(finished):
    frontier = deepreduce.Frontier.load(finished)
    for point in frontier.networks:
        network = frontier.module(point)
        assert network.relus == point.relus
        assert not any("fading" in name for name, _ in network.named_modules())


@pytest.mark.long
def test_killed_in_the_middle_of_a_fade_and_resumed(images, finished, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(command(images, out), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200

    def students_at_work() -> list[Path]:
        return [p for p in out.glob("jobs/*/last.ckpt") if len(list(out.glob("jobs/*/metrics.json"))) >= 1]

    while not students_at_work() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "frontier.json").exists()
    time.sleep(1.5)  # until its workers have noticed
    run(images, out)
    jobs = [n["job"] for n in json.loads((finished / "frontier.json").read_text())["networks"]]
    ours, theirs = JobStore(out / "jobs"), JobStore(finished / "jobs")
    for job in jobs:
        assert ours.metrics(job)["weights_sha256"] == theirs.metrics(job)["weights_sha256"]
        assert ours.metrics(job)["best_epoch"] == theirs.metrics(job)["best_epoch"]
