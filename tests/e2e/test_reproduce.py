"""A made-up table reproduced from nothing: trained, stopped, resumed, written; and the command line around it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deepreduce.cli.commands.reproduce import parse_seeds, parse_time_limit
from deepreduce.errors import DataError, SettingError, StoreError
from deepreduce.jobs.executors import InlineExecutor
from deepreduce.reduce.prune_channels import ChannelPruning
from deepreduce.reproduce.records import Records
from deepreduce.reproduce.scale import Scale
from deepreduce.reproduce.session import Place, choose_studies, run_studies, wanted_trainings, write_results
from deepreduce.reproduce.table import WITH, WITHOUT, Cell, Ranking, Row, Table, both
from deepreduce.reproduce.tables.study import TableStudy
from deepreduce.reproduce.training import Training
from deepreduce.train import make_recipe

BLOCKED = ("sklearn", "PIL", "pooch", "matplotlib", "plotly", "jinja2", "torch_pruning", "scipy", "deepreduce._core")
TINY = Scale("tiny", "for tests", 0.125, 4, make_recipe("quick", epochs=1, batch_size=16, crop_padding=1), (0, 1))
FULL = Training("resnet6", data="cifar10")


def stage(name: str, paper: float) -> Row:
    return Row(name, both(Training("resnet6", name, "cifar10"), None, paper, FULL), "1K", stage=name, criticality=paper)


TABLE = TableStudy(
    Table(
        "made-up",
        "A made-up table",
        "Nowhere",
        (WITHOUT, WITH),
        (
            Row("full", (Cell(WITHOUT, FULL, 50.0),), "2K", latency_s=1.5, note="a note with a *"),
            stage("S2", 1.0),
            stage("S3", 2.0),
            Row(
                "pruned",
                (Cell(WITHOUT, dataclasses.replace(FULL, start=FULL, prune=ChannelPruning("l1", 0.6))),),
                differs="it is made up",
            ),
        ),
        ("a contradiction",),
        (Ranking("", ("S2", "S3")),),
    )
)


def write_cifar(root: Path, images: int = 30) -> Path:
    """CIFAR-10 and CIFAR-100 in their official form, ``images`` random ones a file."""
    rng = np.random.default_rng(0)
    ten, hundred = root / "cifar-10-batches-bin", root / "cifar-100-binary"
    for folder in (ten, hundred):
        folder.mkdir(parents=True)
    for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]:
        rows = rng.integers(0, 256, (images, 3073), dtype=np.uint8)
        rows[:, 0] = np.arange(images) % 10
        rows.tofile(ten / name)
    for name in ("train.bin", "test.bin"):
        rows = rng.integers(0, 256, (400, 3074), dtype=np.uint8)
        rows[:, 0], rows[:, 1] = np.arange(400) % 20, np.arange(400) % 100
        rows.tofile(hundred / name)
    (ten / "batches.meta.txt").write_text("\n".join(f"class{k}" for k in range(10)))
    (hundred / "fine_label_names.txt").write_text("\n".join(f"class{k}" for k in range(100)))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = write_cifar(tmp_path_factory.mktemp("data"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPREDUCE_DATA", str(root))
        yield root


@pytest.fixture(scope="module")
def done(data, tmp_path_factory) -> Place:
    """Both seeds trained, the first after a stop by the time limit."""
    root = tmp_path_factory.mktemp("done")
    place = Place(root / "results", root / "work")
    stopped = run_studies([TABLE], TINY, (0,), place, InlineExecutor("cpu"), time_limit_s=0)
    assert stopped.stopped and not stopped.failed
    assert not place.records.exists()
    outcome = run_studies([TABLE], TINY, (0, 1), place, InlineExecutor("cpu"), watch_test=True)
    assert outcome.failed == {} and not outcome.stopped
    return place


def pages(place: Place, *, seeds=(0, 1), figures=False) -> tuple[dict, str]:
    written = write_results([TABLE], TINY, seeds, place, "the command", figures=figures)
    folder = place.results / "made-up" / "tiny"
    assert set(written) == {
        folder / f"made-up.{kind}" for kind in (("json", "md", "svg") if figures else ("json", "md"))
    }
    return json.loads((folder / "made-up.json").read_text()), (folder / "made-up.md").read_text()


def test_everything_is_recorded_once(done):
    records = list(Records(done.records))
    assert len(records) == 2 * 6
    assert len(done.records.read_text().splitlines()) == len(records)
    before = done.records.read_bytes()
    again = run_studies([TABLE], TINY, (0, 1), done, InlineExecutor("cpu"))
    assert again.failed == {} and done.records.read_bytes() == before
    pruned = next(record for record in records if "prune" in record.settings)
    full = next(record for record in records if record.point.startswith("stem") and not record.settings)
    assert pruned.macs < 0.6 * full.macs
    assert pruned.relus < full.relus
    assert all(record.best_test >= record.test_accuracy for record in records)


def test_the_numbers_are_those_of_the_records(done):
    content, page = pages(done, figures=True)
    mean = np.mean([r.test_accuracy for r in Records(done.records) if r.point.startswith("stem") and not r.settings])
    full = content["rows"][0]["cells"][0]
    assert full["ours"]["test"]["mean"] == pytest.approx(mean)
    assert full["difference"] == pytest.approx(mean - 50)
    assert full["ours"]["seeds"] == [0, 1]
    assert content["rankings"][0]["seeds"] == 2
    assert {row["criticality"] is not None for row in content["rows"] if row["stage"]} == {True}
    assert content["environments"][0]["torch"]
    assert (content["command"], content["seeds"]) == ("the command", [0, 1])
    for text in (
        "the command",
        "difference (other scale)",
        "a contradiction",
        "full: a note with a \\*",
        "±",
        "best test",
    ):
        assert text in page
    assert "not run" not in page
    assert (done.results / "made-up" / "tiny" / "made-up.svg").read_text().lstrip().startswith("<?xml")


def test_results_are_written_without_images_and_jobs(done, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPREDUCE_DATA", str(tmp_path / "nothing"))
    elsewhere = Place(done.results, tmp_path / "no work")
    content, _ = pages(elsewhere)
    assert content["rows"][0]["cells"][0]["ours"] is not None
    assert not (tmp_path / "no work").exists()


def test_one_seed_has_no_interval_and_a_third_was_not_run(done):
    content, page = pages(done, seeds=(0,))
    assert content["rows"][0]["cells"][0]["ours"]["test"]["low"] is None
    assert "±" not in page.split("## without KD")[1].split("## Notes")[0]
    _, page = pages(done, seeds=(7,))
    assert "not run" in page


def test_a_damaged_end_is_trained_again(done, tmp_path):
    lines = done.records.read_text().splitlines(keepends=True)
    path = tmp_path / "records.jsonl"
    path.write_text("".join(lines[:3]) + lines[3][:40])
    records = Records(path)
    assert len(list(records)) == 3
    last = next(r for r in Records(done.records) if r.digest not in records)
    records.add(last)  # what a kill left of a line does not spoil the next
    assert [r.digest for r in Records(path)] == [*(r.digest for r in records)]
    path.write_text("".join(lines[:2]) + lines[2].rstrip("\n"))  # whole but for its end
    records = Records(path)
    records.add(last)
    assert len(list(Records(path))) == 4
    path.write_text(lines[0][:50] + "\n" + lines[1])
    with pytest.raises(StoreError, match=r"records\.jsonl:1 is not a record"):
        Records(path)


def test_results_on_other_data_are_not_mixed(done, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPREDUCE_DATA", str(write_cifar(tmp_path / "other", images=40)))
    with pytest.raises(StoreError, match="another cifar10"):
        run_studies([TABLE], TINY, (0,), Place(done.results, tmp_path / "work"), InlineExecutor("cpu"))


def test_data_that_cannot_be_had_is_an_error_only_if_nothing_else_is_left(data, tmp_path, monkeypatch):
    monkeypatch.setattr("deepreduce.reproduce.job_factory.load", _refuse)
    with pytest.raises(DataError, match="no cifar10"):
        run_studies([TABLE], TINY, (0,), Place(tmp_path / "results", tmp_path / "work"), InlineExecutor("cpu"))


def _refuse(name: str, **settings: object) -> None:
    raise DataError(f"no {name} here")


def test_whole_seeds_come_first():
    wanted = wanted_trainings([TABLE, TABLE], (3, 1))
    assert [seed for _, seed in wanted] == [3] * 6 + [1] * 6
    assert len(set(wanted)) == 12


def test_names_seeds_and_durations_are_read():
    assert parse_seeds("0-2,7,1") == (0, 1, 2, 7)
    assert (parse_time_limit("1h30m"), parse_time_limit("9m"), parse_time_limit("90s")) == (5400, 540, 90)
    for wrong in ("", "2-0", "a", "0-99999", "-1"):
        with pytest.raises(SettingError):
            parse_seeds(wrong)
    for wrong in ("", "9", "h", "1m2h"):
        with pytest.raises(SettingError):
            parse_time_limit(wrong)
    studies = {"a": TABLE, "b": TABLE}
    assert len(choose_studies(["all"], studies)) == 2
    with pytest.raises(SettingError, match="called 'c'"):
        choose_studies(["c"], studies)


def test_the_command_on_a_bare_machine_interrupted_and_continued(data, tmp_path):
    """Only torch, numpy, rich, typer and safetensors; Ctrl-C after the first record; then what is there is written."""
    names = ", ".join(repr(name) for name in BLOCKED)
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nfor name in [{names}]: sys.modules[name] = None\n")
    source = Path(__file__).parents[2] / "src"
    path = os.pathsep.join((str(tmp_path), str(source)))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "deepreduce", "reproduce", "table9", "--no-figures", "--seeds", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    records = tmp_path / "results" / "records.jsonl"
    deadline = time.monotonic() + 240
    while not records.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors.decode()
    assert b"run the same command again" in errors and b"Traceback" not in errors
    done = subprocess.run(
        [*command, "--no-run", "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    written = json.loads(done.stdout)["written"]
    page = (tmp_path / next(name for name in written if name.endswith(".md"))).read_text()
    assert "not run" in page
    assert "ResNet18 (baseline) | 557K | 34,816 | 74.46 | " in page
    assert "no matplotlib" not in page
    failing = subprocess.run(
        [*command[:-3], "--no-run"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert failing.returncode == 2 and "matplotlib" in failing.stderr
