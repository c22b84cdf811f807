"""What the report writes: three files, whole or not at all, and nothing in them that a name could turn into markup."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from deepreduce import files
from deepreduce.errors import MissingPackageError, SettingError, StoreError
from deepreduce.report import distribution_figure, formatting, write_report
from report_fixture import frontier, profile, write_search

HOSTILE = '</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1> & "quotes" $x^2$ {{ 7*7 }} %{y}'


class _Page(HTMLParser):
    """Tags, the text outside scripts and styles, and the scripts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self.cdata_elem is None:
            self.text += data

    @property
    def charts(self) -> dict[str, Any]:
        [text] = [text for attributes, text in self.scripts if attributes.get("id") == "charts"]
        charts: dict[str, Any] = json.loads(text)
        return charts


def _hostile() -> dict[str, Any]:
    content = frontier()
    content["settings"] |= {"model": HOSTILE, HOSTILE: HOSTILE}
    content["versions"][HOSTILE] = HOSTILE
    content["command"] = content["created"] = content["deepreduce"] = HOSTILE
    content["data"] |= {"name": HOSTILE, "classes": [HOSTILE], "notices": [HOSTILE]}
    content["failed"] = [{"name": HOSTILE, "role": "candidate", "job": "ab", "error": HOSTILE}]
    for network in content["networks"]:
        network["name"] += HOSTILE
    for row in content["criticality"]:
        row["stage"] += HOSTILE
    content["profile"]["stages"] = {k + HOSTILE: v for k, v in content["profile"]["stages"].items()}
    for layer in content["profile"]["layers"]:
        layer |= {"name": layer["name"] + HOSTILE, "stage": layer["stage"] + HOSTILE}
    return content


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> _Page:
    directory = write_search(tmp_path_factory.mktemp("report"))
    return _Page(write_report(directory)[0].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> _Page:
    directory = write_search(tmp_path_factory.mktemp("hostile"), _hostile())
    return _Page(write_report(directory)[0].read_text(encoding="utf-8"))


def test_three_files_and_no_leftovers(tmp_path: Path) -> None:
    write_search(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    written = write_report(tmp_path)
    assert [path.name for path in written] == ["report.html", "frontier.svg", "frontier.csv"]
    assert {path.name for path in tmp_path.iterdir()} - before == {path.name for path in written}
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_report(tmp_path)] == first, "the same search gives the same bytes"


def test_a_failed_report_leaves_the_old_one(tmp_path: Path) -> None:
    write_search(tmp_path)
    [old, *_] = write_report(tmp_path)
    before = old.read_bytes()
    (tmp_path / "frontier.json").write_text("{", encoding="utf-8")
    with pytest.raises(StoreError):
        write_report(tmp_path)
    assert old.read_bytes() == before


def test_a_write_that_fails_halfway_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(b"old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(StoreError, match="No space left"):
        files.write_whole(path, b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_the_table_holds_every_network_in_full_precision(tmp_path: Path) -> None:
    content = frontier()
    content["networks"][5]["test_accuracy"] = None
    content["networks"][6]["name"] = 'a "name", with a comma'
    rows = list(csv.DictReader(io.StringIO(write_report(write_search(tmp_path, content))[2].read_text())))
    assert len(rows) == 24
    by_job = {row["job"]: row for row in rows}
    for network in content["networks"]:
        row = by_job[network["job"]]
        assert row["name"] == network["name"]
        assert int(row["relus"]) == network["relus"]
        assert float(row["validation_accuracy"]) == network["validation_accuracy"]
        assert row["test_accuracy"] == ("" if network["test_accuracy"] is None else str(network["test_accuracy"]))
        assert row["on_frontier"] == str(network["on_frontier"]).lower()


def test_the_page_needs_nothing_from_outside(page: _Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "img", "base", "object", "embed"), tag
        assert not {"src", "href"} & attributes.keys()
    assert sum(len(text) > 1_000_000 for _, text in page.scripts) == 1, "plotly is there once"
    [policy] = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "http" not in policy and "'unsafe-inline' script" not in policy


def test_the_page_shows_every_part(page: _Page) -> None:
    assert set(page.charts) == {"frontier", "criticality", "stages", "layers", "curves"}
    places = {attributes.get("id") for _, attributes in page.tags}
    assert {f"chart-{name}" for name in page.charts} <= places
    for name in ("S2^RT+S3^RT, alpha=0.5, rho=0.5", "recipe.kd_weight", "3.11.7", "--epochs 30", "5.4× fewer"):
        assert name in page.text


def test_the_frontier_chart_draws_the_numbers_of_the_file(page: _Page) -> None:
    traces = {trace["name"]: trace for trace in page.charts["frontier"]["data"]}
    expected = sorted((n["relus"], n["validation_accuracy"]) for n in frontier()["networks"] if n["on_frontier"])
    assert list(zip(traces["Pareto frontier"]["x"], traces["Pareto frontier"]["y"], strict=True)) == expected
    assert traces["full network"]["x"] == [311_296]
    assert page.charts["frontier"]["layout"]["xaxis"]["type"] == "log"


def test_the_curves_show_the_frontier_and_offer_the_rest(page: _Page) -> None:
    traces = page.charts["curves"]["data"]
    assert len(traces) == 24
    assert sum(trace["visible"] is True for trace in traces) == 12


def test_no_name_becomes_markup(page: _Page, hostile_page: _Page) -> None:
    assert [tag for tag, _ in hostile_page.tags if tag in ("img", "script")] == ["script"] * len(page.scripts)
    assert HOSTILE in hostile_page.text
    assert "49 %{y}" not in hostile_page.text, "no template inside a name is evaluated"


def test_no_name_becomes_markup_in_a_chart(hostile_page: _Page) -> None:
    """Plotly reads these strings as HTML: a raw ``<`` may only open one of our own few tags."""
    allowed = ("<b>", "</b>", "<br>", "<sub>", "</sub>")

    def strings(value: object) -> list[str]:
        if isinstance(value, dict):
            return [text for item in value.values() for text in strings(item)]
        if isinstance(value, list):
            return [text for item in value for text in strings(item)]
        return [value] if isinstance(value, str) else []

    found = strings(hostile_page.charts)
    assert any("&lt;img src=x" in text for text in found)
    for text in found:
        for tag in allowed:
            text = text.replace(tag, "")
        assert "<" not in text, text


def test_an_empty_search_still_has_a_report(tmp_path: Path) -> None:
    content = frontier() | {"networks": [], "criticality": [], "finished": False}
    page = _Page(write_report(write_search(tmp_path, content))[0].read_text(encoding="utf-8"))
    assert "No network has been measured yet." in page.text
    assert set(page.charts) == {"stages", "layers"}


@pytest.mark.parametrize("hostile", [False, True])
def test_the_picture_is_well_formed_and_names_the_points(tmp_path: Path, hostile: bool) -> None:
    svg = write_report(write_search(tmp_path, _hostile() if hostile else None))[1].read_text(encoding="utf-8")
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not [element for element in root.iter() if element.tag.endswith(("}script", "}img", "}foreignObject"))]
    if not hostile:
        assert "S2+S3+S4" in svg


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG\r\n"), ("a.svg", b"<?xml"), ("a.PNG", b"\x89PNG")])
def test_the_distribution_figure_is_written_by_suffix(tmp_path: Path, name: str, start: bytes) -> None:
    path = distribution_figure(profile(), tmp_path / name)
    assert path == tmp_path / name
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["a.pdf", "a", "a.svg.gz"])
def test_another_suffix_is_refused_before_anything_is_drawn(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError) as caught:
        distribution_figure({}, tmp_path / name)
    assert (Path(name).suffix or name) in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_profile_without_layers_still_has_a_figure(tmp_path: Path) -> None:
    empty = {"relus": 0, "params": 0, "macs": 0, "stages": {}, "layers": []}
    assert distribution_figure(empty, tmp_path / "a.svg").is_file()


@pytest.mark.parametrize("package", ["plotly", "matplotlib", "jinja2"])
def test_a_missing_package_is_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    write_search(tmp_path)
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError) as caught:
        write_report(tmp_path)
    assert package in caught.value.message
    assert caught.value.hint == "pip install 'deepreduce[search]'"


def test_importing_the_report_loads_no_heavy_package() -> None:
    code = (
        "import sys, deepreduce.report; "
        "print([m for m in ('torch', 'plotly', 'matplotlib', 'jinja2') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (49_152, "49.2K"), (999_949, "999.9K"), (999_950, "1.0M"), (2.5e9, "2.5G")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert formatting.short(value) == text


def test_changes_are_words() -> None:
    assert [formatting.change(points) for points in (-0.5, 0.25, 0.001)] == [
        "loses 0.50 points",
        "gains 0.25 points",
        "loses nothing",
    ]
