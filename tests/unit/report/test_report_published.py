"""Published points: the data, where they are offered, and how they are drawn."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from deepreduce.errors import SettingError
from deepreduce.report import write_report
from deepreduce.report.charts.frontier import frontier_chart
from deepreduce.report.published import data_sets, full_size, published, published_on
from deepreduce.report.views.published import compute_published, counted, style
from deepreduce.report.views.report import ReportView, compute_view
from report_fixture import cifar100_frontier, frontier, measured_frontier, write_measured, write_search

METHODS = ["DeepReDuce", "CryptoNAS", "DELPHI", "SNL", "SENet", "AutoReP", "ReLUPruner"]


def _view(folder: Path, content: dict[str, Any]) -> ReportView:
    return compute_view(write_search(folder, content))


def test_the_data_are_whole() -> None:
    assert [method.name for method in published()] == METHODS
    assert set(data_sets()) == {"cifar100", "tinyimagenet"}
    for method in published():
        assert 2020 <= method.year <= 2026 and str(method.year) in method.venue and method.url.startswith("https://")
        for point in method.points:
            assert 1_000 < point.relus[0] <= point.place <= point.relus[1] < 1_000_000
            assert 40 < point.accuracy < 80
            assert point.network and point.source
        assert len({(p.data, p.relus, p.network, p.accuracy) for p in method.points}) == len(method.points)


def test_who_picked_epochs_on_test_images() -> None:
    assert {method.name: method.picked for method in published()} == {
        "DeepReDuce": "unknown",
        "CryptoNAS": "unknown",
        "DELPHI": "unknown",
        "SNL": "yes",
        "SENet": "unknown",
        "AutoReP": "yes",
        "ReLUPruner": "yes",
    }


@pytest.mark.parametrize(
    ("data", "name", "relus", "accuracy"),
    [
        ("cifar100", "DeepReDuce", 7170, 62.30),
        ("cifar100", "CryptoNAS", 344_000, 75.5),
        ("cifar100", "DELPHI", 50_000, 66.0),
        ("cifar100", "SENet", 100_000, 77.92),
        ("tinyimagenet", "DeepReDuce", 12_290, 41.95),
        ("tinyimagenet", "ReLUPruner", 30_000, 56.13),
    ],
)
def test_single_points(data: str, name: str, relus: int, accuracy: float) -> None:
    [method] = [m for m in published_on(data) if m.name == name]
    assert (relus, accuracy) in [(point.relus[0], point.accuracy) for point in method.points]


def test_more_relus_are_more_accurate_within_a_method() -> None:
    """But for the two of DeepReDuce's 49K networks, of which its table 4 has the worse."""
    for data in data_sets():
        for method in published_on(data):
            for network in {point.network for point in method.points}:
                accuracies = [p.accuracy for p in method.points if p.network == network]
                assert accuracies == sorted(accuracies), (method.name, data)


def test_each_method_has_a_look_of_its_own() -> None:
    styles = [style(method) for method in published()]
    assert len({(color, symbol) for color, symbol, _ in styles}) == len(styles)
    assert len({marker for *_, marker in styles}) == len(styles)
    assert all(symbol.endswith("-open") and not symbol.startswith(("circle", "diamond")) for _, symbol, _ in styles)


def test_a_range_is_told_as_one() -> None:
    [snl] = [method for method in published_on("cifar100") if method.name == "SNL"]
    known = {counted(point): point.is_range for point in snl.points}
    assert known["12,000 to 13,000"] is True and known["50,000"] is False


def test_nothing_is_published_on_digits(tmp_path: Path) -> None:
    view = _view(tmp_path, frontier())
    assert view.published.methods == () and full_size("digits") is None
    with pytest.raises(SettingError, match="cifar100 and tinyimagenet"):
        write_report(tmp_path, published=True)
    assert not (tmp_path / "report.html").exists()
    write_report(tmp_path)


def test_a_search_of_full_size_shows_them(tmp_path: Path) -> None:
    view = _view(tmp_path, cifar100_frontier())
    assert [method.name for method in view.published.methods] == METHODS
    assert view.published.reduced == () and "do not compare" not in view.published.caution
    traces = [t for t in frontier_chart(view.frontier, view.published)["data"] if "published" in t.get("meta", {})]
    assert [trace["meta"]["published"] for trace in traces] == METHODS
    assert all(trace["visible"] is True and "published)" in trace["name"] for trace in traces)
    assert sum(len(trace["x"]) for trace in traces) == 45
    for trace in traces:
        for x, more, less in zip(trace["x"], trace["error_x"]["array"], trace["error_x"]["arrayminus"], strict=True):
            assert more >= 0 and less >= 0 and x > less


def test_beside_a_reduced_search_they_wait_and_say_why(tmp_path: Path) -> None:
    view = _view(tmp_path, cifar100_frontier(reduced=True))
    assert view.published.reduced == ("width 0.25", "images of 3×16×16")
    assert "do not compare accuracies" in view.published.caution
    traces = [t for t in frontier_chart(view.frontier, view.published)["data"] if "published" in t.get("meta", {})]
    assert all(trace["visible"] is False and "at full size" in trace["name"] for trace in traces)


@pytest.mark.parametrize(
    ("change", "reduced"),
    [
        ({"train": 900, "validation": 100}, ("1,000 of 50,000 training images",)),
        ({"input_shape": [1, 32, 32]}, ("images of 1×32×32",)),
        ({"train": 50_000, "validation": 0}, ()),
    ],
)
def test_what_counts_as_reduced(tmp_path: Path, change: dict[str, Any], reduced: tuple[str, ...]) -> None:
    content = cifar100_frontier()
    content["data"] |= change
    assert _view(tmp_path, content).published.reduced == reduced


def test_a_search_without_a_width_is_full(tmp_path: Path) -> None:
    content = cifar100_frontier()
    for width in (None, "wide"):
        content["settings"]["width"] = width
        assert _view(tmp_path, content).published.reduced == ()
    del content["settings"]["width"]
    assert compute_published(_view(tmp_path, content).search).reduced == ()


def test_the_figure_has_them_when_asked(tmp_path: Path) -> None:
    write_search(tmp_path, cifar100_frontier(reduced=True))
    plain = write_report(tmp_path)[1].read_bytes()
    shown = write_report(tmp_path, published=True)[1].read_bytes()
    assert plain != shown and ET.fromstring(shown).tag.endswith("svg")
    # Text is drawn as paths; what was drawn stands in comments.
    assert b"SENet (ICLR 2023, published at full size)" in shown and b"SENet" not in plain
    assert b"This search is smaller" in shown


def test_published_networks_have_no_seconds(tmp_path: Path) -> None:
    content = cifar100_frontier()
    for network, measured in zip(content["networks"], measured_frontier()["networks"], strict=True):
        network |= {"private": measured["private"]} if "private" in measured else {}
    write_measured(tmp_path, content)
    with pytest.raises(SettingError, match="against online"):
        write_report(tmp_path, "online", published=True)
    view = compute_view(tmp_path)
    page = write_report(tmp_path, "online")[0].read_text()
    choices = json.loads(page.split('id="choices">')[1].split("</script>")[0])["frontier"]
    names = {key: [trace["name"] for trace in chart["data"]] for key, chart in choices.items()}
    assert any("published" in name for name in names["relus"])
    assert not any("published" in name for key, found in names.items() if key != "relus" for name in found)
    assert view.published.methods


def test_names_keep_clear_of_published_points(tmp_path: Path) -> None:
    view = _view(tmp_path / "full", cifar100_frontier())
    alone = _view(tmp_path / "reduced", cifar100_frontier(reduced=True))
    assert set(view.frontier.named) != set(alone.frontier.named)
    assert [n.name for n in view.frontier.frontier] == [n.name for n in alone.frontier.frontier]


def test_the_option(tmp_path: Path) -> None:
    write_search(tmp_path, frontier())
    command = [sys.executable, "-m", "deepreduce", "report", str(tmp_path), "--published"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "nothing is published on digits" in done.stderr and "Traceback" not in done.stderr
