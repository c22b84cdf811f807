"""Budgets from the search to two parties: trained, killed and resumed, loaded, exported, run in private, reported."""

import json
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import deepreduce
from deepreduce.benchmark.frontier.plan_cache import Exporter
from deepreduce.cli.main import app
from deepreduce.errors import TrainingError
from deepreduce.export import export_point
from deepreduce.files import read_json
from deepreduce.inference import Client, Server, ServerSettings
from deepreduce.jobs.executors import InlineExecutor
from deepreduce.jobs.spec import JobSpec
from deepreduce.plan import Relu, encode_input, kept_mask, normalized, predict, run
from deepreduce.reduce import Linearize
from deepreduce.train import make_recipe
from deepreduce.train.augment import Normalizer
from small_data import stripes_dataset, write_folder

DATA = stripes_dataset()
RECIPE = make_recipe("quick", epochs=2, batch_size=48, crop_padding=1)
STAGES = {"stem": "relu", "S1": "layer[12]*", "S2": "layer[34]*"}  # few, so that few networks are trained
WHOLE = "S1+S2"
TEACHER = f"stem+{WHOLE}"
ELEMENTS = Linearize(rounds=3)


def search(out, **changes):
    options = {"width": 0.0625, "recipe": RECIPE, "stages": STAGES, "budgets": "100, 20,10k", "elements": ELEMENTS}
    options |= {"out": out, **changes}
    return deepreduce.find_frontier("resnet6", DATA, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return search(tmp_path_factory.mktemp("search") / "out")


def refined(frontier):
    return {(n.step, n.relus): n for n in frontier.networks if n.step in ("fine", "coarse-then-fine")}


def test_every_budget_is_met_to_the_element(finished):
    found = refined(finished)
    assert {("fine", 100), ("fine", 20), ("coarse-then-fine", 100), ("coarse-then-fine", 20)} == found.keys()
    for (_, budget), network in found.items():
        assert network.name.endswith(f", relus={budget}")
        assert finished.module(network).relus == budget
        assert network.kd and network.role == "candidate"
    assert found["fine", 100].name == f"{WHOLE}, relus=100"
    coarse = {
        n.name: n for n in finished.networks if n.role != "teacher" and n.step not in ("fine", "coarse-then-fine")
    }
    base = coarse[found["coarse-then-fine", 100].name.rsplit(", ", 1)[0]]
    spec = read_json(finished.directory / "jobs" / found["coarse-then-fine", 100].job / "spec.json")
    assert 100 < base.relus <= 400 and spec["start"] == base.job
    assert any("none to remove for 10,000" in text for text in finished.content["data"]["notices"])


def test_the_best_under_each_budget_is_noted_and_tested(finished):
    rows = finished.content["budgets"]
    assert [row["relus"] for row in rows] == [10_000, 100, 20]
    jobs = {n.job: n for n in finished.networks}
    for row in rows[1:]:
        chosen = [jobs[row[kind]] for kind in ("coarse", "fine", "coarse-then-fine") if row[kind] is not None]
        assert max(n.validation_accuracy for n in chosen) == jobs[row["choice"]].validation_accuracy
        assert all(n.test_accuracy is not None and n.relus <= row["relus"] for n in chosen)
    assert finished.content["settings"]["elements"]["rounds"] == 3


def test_the_frontier_is_read_back(finished, tmp_path):
    images = Normalizer(DATA.mean, DATA.std, torch.device("cpu"), False)(DATA.test.images[:5])
    copy = deepreduce.Frontier.load(finished.save(tmp_path / "copy"))
    for network in refined(finished).values():
        first, second = finished.module(network), copy.module(network.name)
        with torch.no_grad():
            assert torch.equal(first(images), second(images))
        kept, again = first.kept_elements(), second.kept_elements()
        assert all(torch.equal(kept[site], again[site]) for site in kept)


def same(one, other) -> bool:
    """Whether two searches have the same jobs, and their networks the same weights."""
    jobs = {n.job for n in one.networks}
    files = [[f.directory / "jobs" / job / "weights.safetensors" for job in sorted(jobs)] for f in (one, other)]
    return jobs == {n.job for n in other.networks} and all(
        a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True)
    )


class Killed(InlineExecutor):
    """Ends like a process that is killed after the first epoch of a job that removes elements."""

    def poll(self, on_event):
        def heard(event):
            record = getattr(event, "record", None)
            if record is not None and record.epoch == 1 and event.digest in self.removing:
                raise KeyboardInterrupt
            on_event(event)

        super().poll(heard)

    def __init__(self) -> None:
        super().__init__("cpu")
        self.removing: set[str] = set()

    def submit(self, job):
        if job.spec.elements is not None:
            self.removing.add(job.spec.digest)
        return super().submit(job)


def test_given_later_killed_and_resumed(finished, tmp_path):
    shutil.copytree(finished.directory, tmp_path / "out")
    for network in refined(finished).values():
        shutil.rmtree(tmp_path / "out" / "jobs" / network.job)
    plain = search(tmp_path / "out", budgets=())
    assert "budgets" not in plain.content and "elements" not in plain.content["settings"]
    assert not refined(plain)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("jobs/*/metrics.json")}
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "out", executor=Killed())
    assert len(list((tmp_path / "out").glob("jobs/*/last.ckpt"))) == 1
    assert same(search(tmp_path / "out"), finished)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing coarse was trained again


def test_what_fails_is_left_out(finished, tmp_path):
    class Failing(InlineExecutor):
        def submit(self, job):
            future = super().submit(job)
            if job.spec.point == f"{WHOLE}, relus=20":
                self._waiting.pop()
                future.set_exception(TrainingError("the loss is nan in epoch 1"))
            return future

    shutil.copytree(finished.directory, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "jobs" / refined(finished)["fine", 20].job)
    frontier = search(tmp_path / "out", executor=Failing("cpu"))
    assert [f["name"] for f in frontier.content["failed"]] == [f"{WHOLE}, relus=20"]
    assert frontier.content["budgets"][-1]["fine"] is None


@pytest.mark.parametrize("step", ["fine", "coarse-then-fine"])
def test_two_parties_compute_it_and_pay_for_what_is_kept(finished, step):
    network = refined(finished)[step, 100]
    exported = export_point(finished, network.name, evaluate=0, data=DATA)
    plan = exported.plan
    module = finished.module(network)
    kept = module.kept_elements()
    ops = {op.name: op for op in plan.ops if isinstance(op, Relu)}
    assert ops.keys() == {site for site, mask in kept.items() if mask.any()}
    assert any(op.kept is not None for op in ops.values())
    for site, op in ops.items():
        assert np.array_equal(kept_mask(op, kept[site].numel()), kept[site].numpy().ravel())
    assert predict(plan).total.relus == 100
    pixels = DATA.test.images[:3].numpy()
    x = encode_input(plan, normalized(plan, pixels))
    with Server(plan, exported.weights, ServerSettings(insecure=True)) as server:
        port = server.listen()
        server.start()
        with Client("127.0.0.1", port, batch=len(x), protocol="delphi", insecure=True) as client:
            client.prepare(1)
            answers = client.predict_integers(x)
            total = predict(plan, "delphi", len(x)).total
            measured = client.runs[-1].online
            assert (measured.sent_bytes, measured.received_bytes) == (total.online.up_bytes, total.online.down_bytes)
        with Client("127.0.0.1", port, batch=len(x), insecure=True) as client:
            client.prepare(1)
            exact = client.predict_integers(x)
    assert np.array_equal(answers, run(plan, exported.weights, x)[plan.output])
    images = Normalizer(DATA.mean, DATA.std, torch.device("cpu"), False)(DATA.test.images[:3])
    with torch.no_grad():
        logits = module(images).numpy()
    for integers in (answers, exact):
        assert np.corrcoef(integers.ravel(), logits.ravel())[0, 1] > 0.999
    everything = export_point(finished, TEACHER, evaluate=0, data=DATA).plan
    assert predict(everything, "delphi").total.online.down_bytes > predict(plan, "delphi").total.online.down_bytes


def test_points_are_exported_for_measuring(finished):
    frontier = deepreduce.Frontier.load(finished.directory)
    made = Exporter(frontier, DATA).plan(refined(frontier)["fine", 20])
    assert predict(made.plan).total.relus == 20


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr("deepreduce.jobs.ProcessExecutor", lambda jobs, device: InlineExecutor("cpu"))
    images, out = write_folder(tmp_path / "images", 80), tmp_path / "out"
    arguments = (
        f"search resnet6 --data folder:{images} --width 0.0625 --epochs 1 --batch-size 48 --recipe quick".split()
    )
    for name, pattern in STAGES.items():
        arguments += ["--stage", f"{name}={pattern}"]

    def call(*words):
        return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})

    chosen = ["--budgets", "60", "--elements-method", "gates", "--elements-set", "rounds=2"]
    done = call(*arguments, "--out", out, *chosen)
    assert done.exit_code == 0, done.output
    assert "Budgets" in done.output and "coarse-then-fine" in done.output
    content = json.loads((out / "frontier.json").read_text())
    assert content["settings"]["elements"]["method"] == "gates" and len(content["budgets"]) == 1
    assert {n["relus"] for n in content["networks"] if n["step"] in ("fine", "coarse-then-fine")} == {60}
    assert call("report", out).exit_code == 0
    page = (out / "report.html").read_text()
    assert "<h2>Budgets</h2>" in page and f"{WHOLE}, relus=60" in page
    for extra, says in [(("--budgets", "5q"), "budget '5q'"), (("--elements-method", "gates"), "there are none")]:
        refused = call(*arguments, "--out", out, *extra)
        assert says in str(refused.exception)


def test_a_job_without_elements_has_the_digest_that_it_had():
    plain = JobSpec("n", "name", "S1", "d", RECIPE, 0)
    assert plain.digest == JobSpec("n", "name", "S1", "d", RECIPE, 0, elements=None).digest
    chosen = JobSpec("n", "name", "S1, relus=5", "d", RECIPE, 0, elements=Linearize())
    others = [JobSpec("n", "name", "S1, relus=5", "d", RECIPE, 0, elements=e) for e in (None, Linearize("gates"))]
    assert len({chosen.digest, *(other.digest for other in others)}) == 3
