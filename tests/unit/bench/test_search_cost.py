"""bench/search/search_cost.py on made-up searches: its ratios, its files, and the pairs that it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from report_fixture import frontier, write_search

SCRIPT = Path(__file__).parents[3] / "bench" / "search" / "search_cost.py"


def search(path: Path, effort: str, macs: float, lost: float = 0.0, **settings: object) -> Path:
    content = frontier()
    content["settings"] |= settings
    content["effort"] |= {"name": effort, "spent_macs": macs}
    for network in content["networks"]:
        network["validation_accuracy"] -= lost
    if lost:  # the two most critical stages change places
        rows = content["criticality"]
        rows[2]["criticality"], rows[3]["criticality"] = rows[3]["criticality"], rows[2]["criticality"]
    return write_search(path, content, curves=False)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)


def test_two_seeds(tmp_path: Path) -> None:
    pairs = [
        search(tmp_path / "f0", "full", 8e12),
        search(tmp_path / "q0", "quarter", 2e12),
        search(tmp_path / "f1", "full", 8e12, seed=1),
        search(tmp_path / "q1", "quarter", 1.6e12, lost=2.0, seed=1),
    ]
    done = run(*pairs, "--results", tmp_path / "results", "--hardware", "here")
    assert done.returncode == 0, done.stderr
    [path] = (tmp_path / "results").glob("search-cost_here_*.json")
    content = json.loads(path.read_text())
    same, worse = content["pairs"]
    assert same["hypervolume_ratio"] == 1
    assert (same["macs_ratio"], worse["macs_ratio"]) == (0.25, 0.2)
    area, reference = worse["full"]["hypervolume"], worse["reference"]
    assert reference == {"relus": 311296, "accuracy": 10.0, "origin": "chance"}
    assert worse["quarter"]["hypervolume"] == pytest.approx(area - 2 * 2.18, rel=1e-3)  # log10(311296 / 2048) decades
    assert (same["criticality"]["kendall_tau"], same["criticality"]["same_order"]) == (1, True)
    assert worse["criticality"]["kendall_tau"] == pytest.approx(4 / 6)
    assert worse["criticality"]["same_order"] is False
    assert content["summary"]["macs_ratio"]["mean"] == pytest.approx(0.225)
    assert content["summary"]["macs_ratio"]["sd"] == pytest.approx(0.05 / 2**0.5)
    ET.parse(path.with_suffix(".svg"))
    assert "| quarter, seed 1 |" in path.with_suffix(".md").read_text()


def test_the_accuracy_without_relus_can_be_given(tmp_path: Path) -> None:
    pair = search(tmp_path / "f", "full", 8e12), search(tmp_path / "q", "quarter", 2e12)
    done = run(*pair, "--none-accuracy", "80", "--print")
    assert done.returncode == 0, done.stderr
    assert "n = 1" in done.stdout
    assert "| 25.0 % |" in done.stdout


def test_networks_that_the_cost_leaves_out_are_refused(tmp_path: Path) -> None:
    pair = search(tmp_path / "f", "full", 8e12), search(tmp_path / "q", "quarter", 2e12)
    path = pair[1] / "frontier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "budgets": [{"relus": 100}]}))
    done = run(*pair, "--print")
    assert done.returncode != 0 and "--budgets" in done.stderr


def test_what_is_no_pair_is_refused(tmp_path: Path) -> None:
    full, quarter = search(tmp_path / "f", "full", 8e12), search(tmp_path / "q", "quarter", 2e12, seed=1)
    for pair, reason in (((full, quarter), "differ in seed"), ((quarter, full), "full first")):
        done = run(*pair, "--print")
        assert done.returncode != 0
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
