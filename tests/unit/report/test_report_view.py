"""What the report computes: strict about ``frontier.json``, forgiving about curves, honest in its sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deepreduce.errors import StoreError
from deepreduce.report.reading.records import ReportedNetwork, ReportedProfile
from deepreduce.report.reading.search_folder import Search, read_search
from deepreduce.report.views.distribution import compute_distribution
from deepreduce.report.views.frontier import compute_frontier
from deepreduce.report.views.headline import compute_headline
from deepreduce.report.views.report import compute_view
from report_fixture import Json, frontier, profile, write_search


def _search(tmp_path: Path, change: Callable[[Json], object] = lambda _: None) -> Search:
    content = frontier()
    change(content)
    return read_search(write_search(tmp_path / "run", content, curves=False))


def _network(content: Json, name: str) -> Json:
    return next(n for n in content["networks"] if n["name"] == name and n["role"] != "profile")


def test_a_search_is_read_as_it_was_written(tmp_path: Path) -> None:
    search = _search(tmp_path)
    assert len(search.networks) == 24
    assert search.profile.relus == 311_296 == sum(stage.relus for stage in search.profile.stages)
    assert ("recipe.milestones", "[15, 25]") in search.settings
    assert [row.stage for row in search.criticality] == ["S1", "S4", "S2", "S3"]


def test_the_settings_begin_with_what_the_search_cost(tmp_path: Path) -> None:
    view = compute_view(write_search(tmp_path / "run", frontier(), curves=False))
    rows = dict(view.settings)
    assert [row[0] for row in view.settings[:3]] == ["compute budget", "training", "hypervolume"]
    assert rows["training"] == "2e+12 MACs in 70 min of training, 24.9\N{NO-BREAK SPACE}% of the full search's"
    assert rows["hypervolume"].startswith("151.23 (decades")
    assert "311,296 ReLUs" in rows["hypervolume"] and rows["hypervolume"].endswith("chance)")
    assert len(rows) == len(view.settings)


def test_a_search_from_before_its_cost_was_recorded_is_read(tmp_path: Path) -> None:
    search = _search(tmp_path, lambda c: (c.pop("effort"), c.pop("hypervolume")))
    assert search.effort is None
    assert compute_view(tmp_path / "run").settings == search.settings


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c.update(format=2), "format 2"),
        (lambda c: c.update(format=True), "format True"),
        (lambda c: c.pop("format"), "'format' is missing"),
        (lambda c: c.pop("networks"), "'networks' is missing"),
        (lambda c: c.update(networks={}), "'networks' must be a list"),
        (lambda c: c["networks"][3].pop("relus"), "networks[3]: 'relus' is missing"),
        (lambda c: c["networks"][3].update(relus=-1), "networks[3]: 'relus' must be a whole number from 0 up, not -1"),
        (lambda c: c["networks"][3].update(relus=True), "networks[3]: 'relus'"),
        (lambda c: c["networks"][3].update(validation_accuracy=101), "'validation_accuracy' must be a percentage"),
        (lambda c: c["networks"][3].update(validation_accuracy=float("nan")), "not valid JSON: NaN"),
        (lambda c: c["networks"][3].update(job="../../etc"), "'job' must be a hexadecimal digest"),
        (lambda c: c["networks"][3].update(role="student"), "'role' must be one of teacher, profile, candidate"),
        (lambda c: c["networks"].append(c["networks"][0]), "2 networks are the teacher"),
        (lambda c: c["networks"][0].update(validation_accuracy=None), "'resnet10' is on the frontier but"),
        (lambda c: c["profile"]["stages"]["S1"].pop("macs"), "profile: stages: S1: 'macs' is missing"),
        (lambda c: c["criticality"].insert(0, 3), "criticality[0] must be an object, not 3"),
        (lambda c: c["data"].update(classes="0123"), "data: 'classes' must be a list"),
        (lambda c: c.update(finished="yes"), "'finished' must be true or false"),
    ],
)
def test_a_broken_file_is_refused_by_name_and_key(
    tmp_path: Path, change: Callable[[Json], object], problem: str
) -> None:
    with pytest.raises(StoreError) as caught:
        _search(tmp_path, change)
    assert "frontier.json" in caught.value.message
    assert problem in caught.value.message
    assert caught.value.hint or "frontier but" in problem or "teacher" in problem


@pytest.mark.parametrize("text", ["", "{", "[]", '"frontier"', "\x00", "[" * 100_000])
def test_what_is_not_an_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "frontier.json").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=r"frontier\.json"):
        read_search(tmp_path)


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "frontier.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(StoreError, match="not valid JSON"):
        read_search(tmp_path)


def test_a_missing_folder_or_file_hints_at_search(tmp_path: Path) -> None:
    for directory in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(StoreError) as caught:
            read_search(directory)
        assert "deepreduce search" in caught.value.hint
        assert str(directory) in caught.value.message


def test_the_headline_is_the_smallest_network_within_a_point(tmp_path: Path) -> None:
    headline = compute_headline(_search(tmp_path))
    assert headline.pick is not None and headline.pick.name == "S2^RT+S3^RT+S4^RT"
    assert headline.best is not None and headline.best.name == "S2+S3+S4"
    assert "5.4× fewer ReLUs" in headline.summary and "(57,344 instead of 311,296)" in headline.summary
    assert "loses 0.83 points of validation accuracy" in headline.summary
    assert "on the test images it loses 0.55 points" in headline.summary
    # sqrt(97.21 * 2.79 / 359) = 0.869
    assert "±0.87 points on 359 validation images" in headline.caution


def test_the_headline_hides_no_loss_when_nothing_comes_close(tmp_path: Path) -> None:
    def worse(content: Json) -> None:
        for network in content["networks"]:
            if network["role"] == "candidate":
                network["validation_accuracy"] -= 10

    headline = compute_headline(_search(tmp_path, worse))
    assert headline.pick == headline.best
    assert "loses 10.28 points" in headline.summary


def test_the_headline_tells_a_gain_from_a_loss(tmp_path: Path) -> None:
    summary = compute_headline(
        _search(tmp_path, lambda c: _network(c, "S2^RT+S3^RT+S4^RT").update(validation_accuracy=98.0))
    ).summary
    assert "gains 0.51 points of validation accuracy" in summary


def test_the_headline_of_a_search_just_begun(tmp_path: Path) -> None:
    headline = compute_headline(_search(tmp_path, lambda c: c.update(networks=[], criticality=[], finished=False)))
    assert headline.summary == "The full network has 311,296 ReLUs; no reduced network has been measured yet."
    without_teacher = compute_headline(_search(tmp_path, lambda c: c.update(networks=c["networks"][1:])))
    assert "the full network has not been measured yet" in without_teacher.summary


def test_the_frontier_picture_has_every_measured_network_once(tmp_path: Path) -> None:
    networks = _search(tmp_path).networks
    view = compute_frontier(networks)
    assert len(view.drawn) == len(set(view.drawn)) == 24
    assert (len(view.frontier), len(view.dominated), len(view.profiled)) == (12, 4, 8)
    relus = [network.relus for network in view.frontier]
    assert relus == sorted(relus)
    assert view.teacher is view.frontier[-1]


def test_a_network_without_accuracy_or_relus_is_not_drawn_but_named(tmp_path: Path) -> None:
    content = frontier()
    _network(content, "S3^RT, rho=0.5").update(validation_accuracy=None, on_frontier=False)
    _network(content, "S3").update(relus=0)
    view = compute_view(write_search(tmp_path, content))
    assert len(view.frontier.drawn) == 22
    assert any("S3^RT, rho=0.5" in notice and "S3," in notice for notice in view.notices)
    assert len(view.networks) == 24


def _many_names(count: int, spread: float) -> list[ReportedNetwork]:
    base = ReportedNetwork("n" * 20, "candidate", "culled", True, 1, 1, 1, 50.0, None, "a", 1.0, 1, True)
    return [
        replace(base, relus=int(1000 * spread**i), validation_accuracy=60.0 + i, job=f"{i:x}") for i in range(count)
    ]


def test_names_are_written_only_where_there_is_room() -> None:
    few = compute_frontier(_many_names(4, 10.0))
    crowd = compute_frontier(_many_names(40, 1.001))
    assert len(few.named) == 4
    assert 0 < len(crowd.named) < 40


def test_shares_add_up_and_layers_hold_what_follows_them() -> None:
    view = compute_distribution(ReportedProfile.of(profile()))
    for shares in (view.stages, view.layers):
        for attribute in ("relu_share", "param_share", "mac_share"):
            assert sum(getattr(s, attribute) for s in shares) == pytest.approx(100, abs=0.01)
    first = view.layers[0].cost
    assert (first.name, first.relus, first.params) == ("stem.conv", 65_536, 1_856)
    assert "head.pool" not in [layer.cost.name for layer in view.layers]
    assert view.stage_names == ("stem", "S1", "S2", "S3", "S4", "head")


def test_curves_that_cannot_be_read_are_skipped_with_a_notice(tmp_path: Path) -> None:
    content = frontier()
    write_search(tmp_path, content)
    broken = {
        "S3": "{",
        "S3^RT": '{"history": []}',
        "S2+S3": '{"history": [{"epoch": "one", "validation_accuracy": 3}]}',
        "S2+S3+S4": "[" * 100_000,
    }
    for name, text in broken.items():
        (tmp_path / "jobs" / _network(content, name)["job"] / "metrics.json").write_text(text, encoding="utf-8")
    (tmp_path / "jobs" / content["networks"][0]["job"] / "metrics.json").unlink()
    view = compute_view(tmp_path)
    assert len(view.curves) == 24 - 5
    notice = next(notice for notice in view.notices if "curve" in notice)
    assert all(name in notice for name in (*broken, "resnet10"))


def test_a_diverged_epoch_is_a_gap(tmp_path: Path) -> None:
    content = frontier()
    write_search(tmp_path, content)
    path = tmp_path / "jobs" / content["networks"][0]["job"] / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["history"][4]["validation_accuracy"] = float("nan")
    path.write_text(json.dumps(metrics))
    curve = next(c for c in compute_view(tmp_path).curves if c.network.role == "teacher")
    assert curve.accuracies[4] is None
    assert curve.accuracies[5] is not None


def test_notices_tell_what_is_missing(tmp_path: Path) -> None:
    content = frontier()
    content["finished"] = False
    content["data"]["notices"] = ["Only 1,797 images."]
    content["failed"] = [{"name": "S3^RT", "role": "candidate", "job": "ab12", "error": "out of memory"}]
    view = compute_view(write_search(tmp_path, content))
    assert view.notices[0] == "Only 1,797 images."
    assert any("not finished" in notice for notice in view.notices)
    assert any("1 job failed and is missing" in notice for notice in view.notices)
    assert view.failed[0].error == "out of memory"
    assert compute_view(write_search(tmp_path, frontier())).notices == ()
