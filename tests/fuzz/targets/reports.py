"""The results of searches and measurements, up to the page and the table that are made of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from deepreduce.report.csv_table import render_csv
from deepreduce.report.html import render_html
from deepreduce.report.reading.runs import read_run
from deepreduce.report.reading.search_folder import read_curve, read_search
from deepreduce.report.views.report import compute_view
from fuzz.edits import joined, parts
from fuzz.mutators import changed_json, json_mutator
from fuzz.scratch import scratch, written
from fuzz.target import target
from report_fixture import measured_frontier, run


def small_frontier() -> dict[str, Any]:
    """One network of each role: the invented content of the report's own tests."""
    content = measured_frontier()
    content["networks"] = [content["networks"][i] for i in (0, 1, -1)]
    content["profile"]["layers"] = content["profile"]["layers"][:3]
    content["criticality"] = content["criticality"][:2]
    return content


def frontier_seeds() -> Iterator[bytes]:
    content = small_frontier()
    yield json.dumps(content).encode()
    del content["effort"]
    yield json.dumps({**content, "networks": content["networks"][:1], "criticality": []}).encode()


def plain(content: Any) -> bytes:
    """Without NaN's bytes becoming an error of the mutator."""
    return json.dumps(content).encode()


@target(frontier_seeds, memory_mb=128, seconds=20, most_bytes=16_000, mutate=json_mutator(plain))
def frontier(data: bytes) -> None:
    """frontier.json, as far as the report computes from it."""
    folder = written("search/frontier.json", data).parent
    view = compute_view(folder)
    assert view.search == read_search(folder)
    assert render_csv(view)
    assert render_html(view)


def run_seeds() -> Iterator[bytes]:
    network = small_frontier()["networks"][0]
    yield joined(json.dumps(run(network, network["private"]["ot@none"])).encode(), b"{}")
    yield joined(b"{}", json.dumps({"history": [{"epoch": 1, "validation_accuracy": 50.5}]}).encode())
    yield joined(b"{}", b'{"history": [{"epoch": 1, "validation_accuracy": NaN}]}')


def run_mutator(data: bytes, random: Random) -> bytes:
    """Both as JSON."""
    return joined(*(_changed(part, random) for part in parts(data, 2)))


def _changed(data: bytes, random: Random) -> bytes:
    try:
        return json.dumps(changed_json(json.loads(data), random)).encode()
    except (ValueError, RecursionError):
        return data


@target(run_seeds, most_bytes=16_000, mutate=run_mutator)
def runs(data: bytes) -> None:
    """run.json, and a training's curve, whose reader may also say `ValueError`."""
    first, second = parts(data, 2)
    written("search/runs/run.json", first)
    network = next(n for n in _networks() if n.job)
    written(f"search/jobs/{network.job}/metrics.json", second)
    with contextlib.suppress(ValueError):
        read_curve(scratch() / "search", network)
    assert read_run(scratch() / "search", "run.json").timed("online")


def _networks() -> tuple[Any, ...]:
    written("good/frontier.json", next(frontier_seeds()))
    return read_search(scratch() / "good").networks
