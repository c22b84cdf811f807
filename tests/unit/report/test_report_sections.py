"""Sections beside the frontier: targets and their choice, errors by class, the legend, MACs, an unfinished search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepreduce.cli.main import app
from deepreduce.errors import StoreError
from deepreduce.report import search_progress, write_report
from deepreduce.report.views.report import compute_view
from report_fixture import (
    Json,
    chosen_frontier,
    cifar100_frontier,
    frontier,
    unfinished,
    write_class_errors,
    write_measured,
    write_search,
)


def _page(directory: Path) -> str:
    write_report(directory)
    return (directory / "report.html").read_text().partition('<script type="application/json"')[0]


def test_the_choice_for_a_target_is_shown(tmp_path: Path) -> None:
    directory = write_measured(tmp_path / "run", chosen_frontier())
    none, one = compute_view(directory).targets
    assert (none.network, none.title) == (None, "traffic<1MB")
    assert "S3^RT, alpha=0.5, rho=0.5 comes closest" in none.sentence
    assert [(row.predicted, row.measured) for row in none.rows] == [("41.8 MB", "")]
    assert one.network is not None and one.network.name == "S3^RT"
    assert [(r.predicted, r.measured, r.difference, r.holds) for r in one.rows] == [
        ("65.1 ms", "71.2 ms", "+9.4\N{NO-BREAK SPACE}%", True),
        ("16,384", "16,384", "as predicted", True),
    ]
    page = _page(directory)
    assert "Target and choice" in page and "online&lt;75ms@lan and relus&lt;20k" in page
    assert "could not be exported: S2." in page


def test_without_a_target_there_is_no_such_section(tmp_path: Path) -> None:
    assert "Target and choice" not in _page(write_search(tmp_path / "run"))


@pytest.mark.parametrize("change", [{"values": [{}]}, {"job": "../x"}, {"nearest": 3}, {"targets": "relus<1"}])
def test_a_damaged_target_is_named(tmp_path: Path, change: Json) -> None:
    content = chosen_frontier()
    content["targets"][1] |= change
    with pytest.raises(StoreError, match=r"targets\[1\]"):
        compute_view(write_measured(tmp_path / "run", content))


def test_errors_by_class_are_those_of_the_choice(tmp_path: Path) -> None:
    content = chosen_frontier()
    directory = write_measured(tmp_path / "run", content)
    assert compute_view(directory).classes is None
    write_class_errors(directory, content)
    classes = compute_view(directory).classes
    assert classes is not None and classes.network.name == "S3^RT"
    written = json.loads((directory / "jobs" / classes.network.job / "test.json").read_text())["validation_classes"]
    assert {row.name: round(row.chosen * row.images / 100) for row in classes.rows} == {
        str(k): correct for k, correct in enumerate(written["correct"])
    }
    assert [row.chosen for row in classes.rows] == sorted(row.chosen for row in classes.rows)
    assert [(row.name, row.taken_for, row.taken_for_images) for row in classes.rows[:2]] == [
        ("7", "8", 4),
        ("3", "4", 4),
    ]
    assert "“7” is recognized worst" in classes.summary and "“2” loses most" in classes.summary
    assert "Errors by class" in _page(directory)


def test_without_a_target_they_are_those_of_the_headline(tmp_path: Path) -> None:
    directory = write_search(tmp_path / "run")
    write_class_errors(directory, frontier())
    view = compute_view(directory)
    assert view.classes is not None and view.classes.network == view.headline.pick


def test_without_an_error_there_is_no_worst_class(tmp_path: Path) -> None:
    """And no certainty either: one standard error is not 0."""
    content = frontier()
    for network in content["networks"]:
        network["validation_accuracy"] = network["test_accuracy"] = 100.0
    directory = write_search(tmp_path / "run", content)
    write_class_errors(directory, content)
    view = compute_view(directory)
    assert view.classes is not None and view.classes.summary == "All of them are recognized."
    assert "\u00b10.39 points on 359 validation images" in view.headline.caution


def test_many_classes_are_folded(tmp_path: Path) -> None:
    directory = write_search(tmp_path / "run", cifar100_frontier())
    write_class_errors(directory, cifar100_frontier())
    assert "80 more classes" in _page(directory)


@pytest.mark.parametrize("damage", ["{", '{"validation_classes": {"images": [1]}}', "short"])
def test_class_errors_that_cannot_be_read_are_a_notice(tmp_path: Path, damage: str) -> None:
    directory = write_search(tmp_path / "run")
    write_class_errors(directory, frontier())
    for path in directory.glob("jobs/*/test.json"):
        content = json.loads(path.read_text())
        content["validation_classes"]["images"].pop()
        path.write_text(json.dumps(content) if damage == "short" else damage)
    view = compute_view(directory)
    assert view.classes is None
    assert any("No errors by class" in notice for notice in view.notices)


def test_the_legend_explains_what_occurs(tmp_path: Path) -> None:
    names = [text for text, _ in compute_view(write_search(tmp_path / "run")).legend]
    assert names == ["resnet10", "S2+S3", "S2^RT", "alpha=0.5 (\u03b1)", "rho=0.5 (\u03c1)", "KD", "profiled"]
    content = frontier()
    content["networks"] = [n for n in content["networks"] if n["step"] in ("full", "culled")]
    content["networks"][-1]["name"] = "S3, relus=25000"
    legend = dict(compute_view(write_search(tmp_path / "other", content)).legend)
    assert list(legend) == ["resnet10", "S2+S3", "relus=25000", "KD"]
    content["networks"] = content["networks"][:1]
    assert not compute_view(write_search(tmp_path / "teacher", content)).legend


def test_it_says_why_there_are_more_macs_where_there_are(tmp_path: Path) -> None:
    assert "Why reduced networks may have more" not in _page(write_search(tmp_path / "run"))
    content = frontier()
    content["networks"][-1]["macs"] = content["profile"]["macs"] + 1
    assert "Why reduced networks may have more" in _page(write_search(tmp_path / "more", content))


@pytest.mark.parametrize("networks", [3, 1, 0])
def test_an_unfinished_search_shows_what_is_there(tmp_path: Path, networks: int) -> None:
    content = unfinished()
    content["networks"] = content["networks"][:networks]
    content["progress"]["done"] = networks
    directory = write_search(tmp_path / "run", content)
    (directory / "frontier.json").rename(directory / "progress.json")
    done = CliRunner().invoke(app, ["report", str(directory)])
    assert done.exit_code == 0, done.output
    assert f"not finished, {networks} of 24 trainings done" in done.stderr
    page = (directory / "report.html").read_text()
    assert f"unfinished: {networks} of 24 trainings done" in page
    assert "deepreduce bench DIR" not in page  # it wants a finished search
    assert search_progress(directory) == f"{networks} of 24 trainings done"
    write_search(directory)
    assert search_progress(directory) == ""
    assert "unfinished" not in _page(directory)


def test_a_folder_without_a_search(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no search"):
        write_report(tmp_path)
