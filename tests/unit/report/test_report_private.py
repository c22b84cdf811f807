"""What the report makes of measurements: axes, Pareto steps of their own, waterfalls, a table; runs may be damaged."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from test_report_files import HOSTILE, _Page

from deepreduce.errors import SettingError, StoreError
from deepreduce.report import write_report
from deepreduce.report.reading.records import Private, ReportedNetwork
from deepreduce.report.reading.search_folder import read_search
from deepreduce.report.views.axis import RELUS, Axis, find_axis
from deepreduce.report.views.frontier import compute_frontier
from deepreduce.report.views.report import ReportView, compute_view
from report_fixture import KEYS, Json, measured_frontier, write_measured, write_search


@pytest.fixture
def view(tmp_path: Path) -> ReportView:
    return compute_view(write_measured(tmp_path))


def test_seconds_have_a_frontier_of_their_own(view: ReportView) -> None:
    by_relus = {n.name for n in view.frontier.frontier}
    by_seconds = view.private.frontiers[("online", "ot@none")]
    assert by_relus - {n.name for n in by_seconds.frontier} == {"S3"}, "it is slow, and was on the frontier of ReLUs"
    assert [n.name for n in by_seconds.dominated] == ["S3"]
    x = [by_seconds.x(n) for n in by_seconds.frontier]
    assert x == sorted(x)
    assert len(by_seconds.drawn) == 12, "what was not measured has no place there"
    assert {"S3"} <= {n.name for n in view.private.frontiers[("traffic", "ot@none")].frontier}


def network(index: int, accuracy: float, online_s: float) -> ReportedNetwork:
    private = Private("ot@none", online_s, 1.0, 1.0, 1.0, 1, 1, 1, 1, 1, 1, "a.json")
    return ReportedNetwork(
        f"n{index}", "candidate", "culled", True, 1, 1, 1, accuracy, None, f"{index:x}", 1.0, 1, False, (private,)
    )


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12))
def test_the_frontier_of_seconds_by_brute_force(pairs: list[tuple[int, int]]) -> None:
    networks = [network(i, float(accuracy), float(x)) for i, (x, accuracy) in enumerate(pairs)]
    view = compute_frontier(networks, Axis("online", "ot@none"))
    best = {(x, a) for x, a in pairs if not any(q <= x and b >= a and (q, b) != (x, a) for q, b in pairs)}
    assert {(view.x(n), n.validation_accuracy) for n in view.frontier} == best
    assert len(view.frontier) == len(best)
    low, high = min(x for x, _ in pairs), max(x for x, _ in pairs)
    assert any(value <= low for value in view.ticks) and any(value >= high for value in view.ticks)


def test_axes_are_found_by_name(view: ReportView) -> None:
    assert find_axis(view.networks, "relus") == RELUS
    assert find_axis(view.networks, "online") == Axis("online", "ot@none")
    assert find_axis(view.networks, "traffic", "ot@lan") == Axis("traffic", "ot@lan")
    with pytest.raises(SettingError, match="did you mean 'online'"):
        find_axis(view.networks, "onlin")
    with pytest.raises(SettingError, match="'ot@wan'"):
        find_axis(view.networks, "online", "ot@wan")
    with pytest.raises(SettingError, match="deepreduce bench DIR"):
        find_axis((), "online")


def test_the_page_offers_every_axis_and_run(tmp_path: Path) -> None:
    page = _Page(write_report(write_measured(tmp_path))[0].read_text())
    [text] = [text for attributes, text in page.scripts if attributes.get("id") == "choices"]
    choices = json.loads(text)
    axes = {f"{quantity}|{key}" for quantity in ("online", "total", "traffic") for key in KEYS}
    assert set(choices["frontier"]) == {"relus", *axes}
    content = measured_frontier()
    on = [n for n in content["networks"] if n["on_frontier"]]
    for phase in ("online", "offline"):
        assert set(choices[f"waterfall-{phase}"]) == {
            f"{n['job']}|{key}|{quantity}" for n in on for key in KEYS for quantity in ("seconds", "megabytes")
        }
    traces = {t["name"]: t for t in choices["frontier"]["total|ot@lan"]["data"]}
    teacher = next(n for n in on if n["role"] == "teacher")["private"]["ot@lan"]
    assert traces["full network"]["x"] == [pytest.approx(teacher["online_s"] + teacher["offline_s"])]
    assert choices["frontier"]["total|ot@lan"]["layout"]["xaxis"]["type"] == "log"
    assert "not measured yet" not in page.text and "deepreduce bench DIR" not in page.text
    assert "12 → 9" in page.text


def test_a_waterfall_begins_where_the_operation_before_ended(tmp_path: Path) -> None:
    page = _Page(write_report(write_measured(tmp_path))[0].read_text())
    chart = page.charts["waterfall-online"]
    bars = sorted(
        (y, base, x)
        for trace in chart["data"]
        if trace["name"] != "predicted"
        for y, base, x in zip(trace["y"], trace["base"], trace["x"], strict=True)
    )
    end = 0.0
    for place, (y, base, x) in enumerate(bars):
        assert (y, base) == (place, pytest.approx(end))
        end = base + x
    teacher = next(n for n in measured_frontier()["networks"] if n["role"] == "teacher")["private"]["ot@none"]
    assert end == pytest.approx(teacher["online_s"])
    names = chart["layout"]["yaxis"]["ticktext"]
    assert names[0] == "stem.conv" and names[-1] == "between them"
    assert "S1.0.add" not in names, "what takes nothing is left out"
    [predicted] = [trace for trace in chart["data"] if trace["name"] == "predicted"]
    assert sum(predicted["x"]) == pytest.approx(teacher["predicted_online_s"])
    groups = {trace["name"]: {names[y] for y in trace["y"]} for trace in chart["data"]}
    assert "S1.0.conv1" in groups["linear"] and "head.linear" in groups["linear"]
    assert {"S1.0.relu1", "stem.rescale"} <= groups["non-linear"]
    assert groups["other"] == {"between them"}
    [text] = [text for attributes, text in page.scripts if attributes.get("id") == "choices"]
    sizes = next(chart for name, chart in json.loads(text)["waterfall-online"].items() if name.endswith("|megabytes"))
    assert sizes["layout"]["yaxis"]["ticktext"][0] == "input", "bytes belong to operations, those of the ends too"


def test_without_measurements_the_page_says_how_to_make_them(tmp_path: Path) -> None:
    page = _Page(write_report(write_search(tmp_path))[0].read_text())
    assert "deepreduce bench DIR" in page.text
    assert "Private inference cost" not in page.text
    assert json.loads(next(text for a, text in page.scripts if a.get("id") == "choices")) == {}


def test_the_table_has_the_measured_columns(tmp_path: Path) -> None:
    content = measured_frontier()
    rows = list(csv.DictReader(io.StringIO(write_report(write_measured(tmp_path, content))[2].read_text())))
    by_job = {row["job"]: row for row in rows}
    for record in content["networks"]:
        for key in KEYS:
            for column in ("online_s", "offline_s", "online_bytes", "offline_bytes", "rounds"):
                cell = by_job[record["job"]][f"{column} {key}"]
                private = record.get("private", {}).get(key)
                assert cell == ("" if private is None else str(private[column]))


def test_the_picture_is_drawn_against_what_was_asked(tmp_path: Path) -> None:
    write_measured(tmp_path)
    relus = write_report(tmp_path)[1].read_text()
    seconds = write_report(tmp_path, "online", "ot@lan")[1].read_text()
    assert "ReLUs per image" in relus
    assert "Online seconds, ot@lan" in seconds and "ReLUs per image" not in seconds
    with pytest.raises(SettingError):
        write_report(tmp_path, "online", "ot@wan")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda p: p.pop("online_s"), "'online_s' is missing"),
        (lambda p: p.update(rounds=-1), "'rounds' must be a whole number"),
        (lambda p: p.update(online_s="fast"), "'online_s' must be a number"),
        (lambda p: p.update(run="../../etc/passwd"), "'run' must be a file name"),
        (lambda p: p.update(run="..hidden"), "'run' must be a file name"),
    ],
)
def test_a_broken_record_is_refused_by_name_and_key(
    tmp_path: Path, change: Callable[[Json], object], problem: str
) -> None:
    content = measured_frontier()
    change(content["networks"][0]["private"]["ot@none"])
    write_search(tmp_path, content)
    with pytest.raises(StoreError) as caught:
        read_search(tmp_path)
    assert "networks[0]: private: ot@none" in caught.value.message
    assert problem in caught.value.message


def _damage(result: Any) -> list[str]:
    broken = json.loads(json.dumps(result))
    del broken["ops"][1]["online"]["predicted_seconds"]
    return ["", "{", "[]", "{}", json.dumps(broken), json.dumps(result).replace("Conv", "\\ud800")[:-9]]


@pytest.mark.parametrize("case", range(6))
def test_a_damaged_run_is_a_notice(tmp_path: Path, case: int) -> None:
    write_measured(tmp_path)
    first = measured_frontier()["networks"][0]["private"]["ot@none"]["run"]
    path = tmp_path / "runs" / first
    path.write_text(_damage(json.loads(path.read_text()))[case])
    view = compute_view(tmp_path)
    assert len(view.private.waterfalls) == 2 * 12 - 1
    assert any("run" in notice and "resnet10, ot@none" in notice for notice in view.notices)
    path.unlink()
    assert len(compute_view(tmp_path).private.waterfalls) == 2 * 12 - 1
    write_report(tmp_path)


def test_hostile_keys_and_operations_stay_text(tmp_path: Path) -> None:
    content = measured_frontier()
    for record in content["networks"]:
        if "private" in record:
            record["private"] = {f"{key}{HOSTILE}": value for key, value in record["private"].items()}
    write_measured(tmp_path, content)
    for path in (tmp_path / "runs").iterdir():
        result = json.loads(path.read_text())
        for op in result["ops"]:
            op["name"] += HOSTILE
            op["op"] += HOSTILE
        path.write_text(json.dumps(result))
    written = write_report(tmp_path, "online")
    page = _Page(written[0].read_text())
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert HOSTILE in page.text
    [text] = [text for attributes, text in page.scripts if attributes.get("id") == "choices"]

    def strings(value: object) -> list[str]:
        """The values that plotly shows: keys are only looked up."""
        if isinstance(value, dict):
            return [t for item in value.values() for t in strings(item)]
        if isinstance(value, list):
            return [t for item in value for t in strings(item)]
        return [value] if isinstance(value, str) else []

    for shown in strings(json.loads(text)):
        for tag in ("<b>", "</b>", "<br>"):
            shown = shown.replace(tag, "")
        assert "<" not in shown, shown
