"""Pareto by brute force, and the job store's promises."""

import dataclasses
import json
import multiprocessing
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st

from deepreduce.errors import PointError, SettingError, StoreError
from deepreduce.files import read_json, write_json
from deepreduce.jobs.spec import JobSpec, network_digest
from deepreduce.jobs.store import JobStore
from deepreduce.jobs.workspace import Workspace
from deepreduce.locks import hold
from deepreduce.networks import ModelSource
from deepreduce.reduce.front_padding import is_front_padded
from deepreduce.search.frontier import MAX_LOSS, Frontier, TrainedNetwork, pareto
from deepreduce.train import make_recipe


def trained(index: int, relus: int, accuracy: float) -> TrainedNetwork:
    return TrainedNetwork(f"n{index}", "candidate", "culled", True, relus, 1, 1, accuracy, f"{index:x}", 1.0, 1)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=14))
def test_pareto_by_brute_force(pairs):
    marked = pareto([trained(i, r, float(a)) for i, (r, a) in enumerate(pairs)])
    front = {(n.relus, n.validation_accuracy) for n in marked if n.on_frontier}
    best = {(r, float(a)) for r, a in pairs if not any((q <= r and b >= a) and (q, b) != (r, a) for q, b in pairs)}
    assert front == best
    assert sum(n.on_frontier for n in marked) == len(best)  # of equals one


def searched(*pairs, teacher=(100, 90.0)):
    """A frontier of the teacher and of networks with these (ReLUs, accuracy)."""
    full = dataclasses.replace(trained(99, *teacher), name="stem+S1", role="teacher", step="full", kd=False)
    networks = pareto([full, *(trained(i, *pair) for i, pair in enumerate(pairs))])
    content = {"networks": [dataclasses.asdict(n) for n in networks]}
    return Frontier(Path("search"), content)


def test_the_best_network_has_the_fewest_relus_within_the_loss():
    found = searched((50, 89.5), (20, 88.9), (10, 85.0), (5, 40.0))
    assert [found.best(loss).relus for loss in (0, 0.4, 0.5, 1, 1.1, 5, 100)] == [100, 100, 50, 50, 20, 10, 5]
    assert found.best() == found.best(MAX_LOSS) == found["n0"]
    assert found.loss(found.best(5)) == pytest.approx(5)
    assert found.best(0) == found.teacher, "nothing can be removed for nothing"
    for wrong in (-1, 101, float("nan")):
        with pytest.raises(SettingError, match="percentage points"):
            found.best(wrong)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(80, 99)), max_size=8), st.integers(0, 15))
def test_no_network_within_the_loss_has_fewer_relus(pairs, loss):
    found = searched(*pairs)
    best = found.best(loss)
    assert best.validation_accuracy >= 90 - loss
    assert not [n for n in found.networks if n.validation_accuracy >= 90 - loss and n.relus < best.relus]


def test_a_dominated_teacher_is_shown_all_the_same():
    found = searched((50, 95.0), (10, 85.0))
    assert not found.teacher.on_frontier and found.teacher not in list(found)
    assert "stem+S1 (teacher, dominated)" in repr(found)
    assert found.best(0).relus == 50
    assert "stem+S1 (teacher)" in repr(searched((50, 89.0)))


def test_networks_are_found_by_their_names():
    found = searched((50, 89.0))
    assert found["full"] == found["stem + S1"] == found.teacher
    assert found["n0"].relus == 50
    with pytest.raises(PointError, match=r"no network 'S9' was trained \(on the frontier: stem\+S1 \| n0; also full\)"):
        found["S9"]
    with pytest.raises(PointError, match=r"did you mean 'stem\+S1'"):
        found["stem+S2"]


SPEC = JobSpec("net", "resnet6", "S1", "data", make_recipe("paper"), 0, None)


def test_digest_covers_everything_that_decides_the_result():
    changed = [
        dataclasses.replace(SPEC, network="other"),
        dataclasses.replace(SPEC, point="S2"),
        dataclasses.replace(SPEC, data="other"),
        dataclasses.replace(SPEC, seed=1),
        dataclasses.replace(SPEC, teacher="t"),
        dataclasses.replace(SPEC, recipe=make_recipe("paper", epochs=3)),
        dataclasses.replace(SPEC, recipe=make_recipe("paper", precision="bf16")),
    ]
    assert len({spec.digest for spec in [SPEC, *changed]}) == 8
    assert dataclasses.replace(SPEC, name="alias").digest == SPEC.digest


def test_digest_leaves_out_what_has_its_default():
    """Known answers: these digests name jobs that were trained; a new optional setting must not change them."""
    assert SPEC.digest == "9be775a0cd983386ba2a59c2"
    student = dataclasses.replace(SPEC, teacher="t", front_padding=False, recipe=make_recipe("quick", epochs=2))
    assert student.digest == "8ab1ba5590c0ef8a331ba8bc"
    assert dataclasses.replace(SPEC, start=None, weights=None).digest == SPEC.digest
    assert dataclasses.replace(SPEC, weights="w").digest != SPEC.digest
    assert len({dataclasses.replace(SPEC, **change).digest for change in ({}, {"start": "t"}, {"teacher": "t"})}) == 3


def test_network_digest_follows_the_network():
    def digest(model="resnet6", seed=0, **settings):
        return network_digest(ModelSource(model, **settings).build(seed=seed))

    assert digest(width=0.0625) == digest(width=0.0625)
    assert len({digest(width=0.0625), digest(width=0.125), digest("resnet9", width=0.0625)}) == 3
    assert digest(width=0.0625, seed=1) != digest(width=0.0625)
    assert digest(width=0.0625, stages={"A": "*"}) != digest(width=0.0625)


def test_weights_that_were_changed_on_disk_are_refused(tmp_path):
    store = JobStore(tmp_path)
    store.finish("ab", {"w": torch.ones(4)}, {"validation_accuracy": 1.0, "seconds": 1, "history": []})
    assert torch.equal(store.weights("ab")["w"], torch.ones(4))
    path = store.folder("ab") / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"weights\.safetensors is damaged.*only this job"):
        store.weights("ab")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("frontier.json", "delete this file alone .* is kept"), ("search.json", "choose another `out` folder")],
)
def test_damaged_files_of_a_search_do_not_cost_the_jobs(tmp_path, name, hint):
    (tmp_path / name).write_text("{}")
    with pytest.raises(StoreError, match=rf"it has no 'format' \({hint}"):
        read_json(tmp_path / name, ("format",))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"history": []}', '{"history":[],"seconds":1,"weights_sha256":"","validation_accuracy":"x"}'],
)
def test_damaged_metrics_name_the_file(tmp_path, text):
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "metrics.json").write_text(text)
    with pytest.raises(StoreError, match=r"ab/metrics\.json is damaged"):
        JobStore(tmp_path).metrics("ab")


def test_writes_are_whole(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", {"old": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        write_json(tmp_path / "a.json", {"new": 1})
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def _hold(path, started):
    with hold(path, "it", 1.0):
        started.set()
        time.sleep(60)


def test_a_lock_is_freed_when_its_holder_is_killed(tmp_path):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "lock", started))
    process.start()
    assert started.wait(60)
    with pytest.raises(StoreError, match=f"in use by process {process.pid}"), hold(tmp_path / "lock", "it", 0.3):
        pass
    process.kill()
    process.join()
    with hold(tmp_path / "lock", "it", 5.0):
        pass


def test_a_folder_holds_one_search(tmp_path):
    space = Workspace(tmp_path / "out")
    with space.claim({"recipe": {"epochs": 3}, "seed": 0}):
        pass
    with space.claim({"seed": 0, "recipe": {"epochs": 3}}):
        pass
    with (
        pytest.raises(StoreError, match=r"recipe\.epochs is 3, not 4"),
        space.claim({"recipe": {"epochs": 4}, "seed": 0}),
    ):
        pass
    with space.claim({"seed": 0, "recipe": {"epochs": 3, "new": 0}}, {"recipe.new": 0}):  # a setting of a later version
        pass
    with (
        pytest.raises(StoreError, match=r"recipe\.new is 0, not 1"),
        space.claim({"seed": 0, "recipe": {"epochs": 3, "new": 1}}, {"recipe.new": 0}),
    ):
        pass
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "lock").write_text("1")
    with Workspace(tmp_path / "killed").claim({"seed": 0}):  # a search that was killed at once is no stranger
        pass
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="holds no search"), Workspace(tmp_path / "other").claim({}):
        pass
    path = tmp_path / "out" / "search.json"
    path.write_text(json.dumps({"format": 99, "identity": {}}))
    with pytest.raises(StoreError, match="format 99"), space.claim({}):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"), Workspace(tmp_path / "file" / "out").claim({}):
        pass


def test_what_a_file_draws_when_it_is_imported_does_not_shift_the_weights(tmp_path):
    (tmp_path / "drawing.py").write_text(
        "from torch import nn\nfrom deepreduce.networks import build_zoo\nunused = nn.Linear(1, 1)\n"
        "def build():\n    return build_zoo('resnet6', width=0.0625)\n"
    )
    source = ModelSource(f"{tmp_path / 'drawing.py'}:build")
    assert network_digest(source.build()) == network_digest(source.build())


@pytest.mark.parametrize("recorded", [True, None])
def test_networks_are_padded_as_they_were_trained(tmp_path, recorded):
    """Searches from before front padding have no such key."""
    network = ModelSource("resnet6", 0.0625).build((3, 16, 16), 2)
    store = JobStore(tmp_path / "jobs")
    store.finish("ab", dict(network.state_dict()), {"validation_accuracy": 1.0, "seconds": 1, "history": []})
    settings = {"model": "resnet6", "importable": True, "width": 0.0625, "stages": None, "seed": 0}
    if recorded is not None:
        settings["front_padding"] = recorded
    record = dataclasses.replace(trained(0, 1, 1.0), name="S2", job="ab", on_frontier=True)
    content = {"settings": settings, "data": {"input_shape": [3, 16, 16], "classes": ["a", "b"]}}
    frontier = Frontier(tmp_path, content | {"networks": [dataclasses.asdict(record)]})
    assert is_front_padded(frontier.module("S2")) == bool(recorded)
