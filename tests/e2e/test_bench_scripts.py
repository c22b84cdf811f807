"""The scripts of bench/ run and fill their tables; what they measure is not judged here."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.parametrize(
    ("script", "arguments", "rows"),
    [
        (
            "core/kernels.py",
            ["--rounds", "1"],
            ["evaluate delphi, ns per AND, cache", "pads of tables, client, ns per transfer, memory"],
        ),
        (
            "core/scaling.py",
            ["--least", "10", "--most", "12", "--inferences", "1"],
            ["| 2,048 delphi |", "to the power"],
        ),
        (
            "service/timing.py",
            [
                *("--model", "resnet6", "--point", "full", "S2+S3", "--width", "0.125", "--inferences", "1"),
                *("--network", "none", "lan", "--protocol", "ot"),
            ],
            ["| resnet6 S2+S3, width 0.125 ot lan |", "| digit_s |", "- links, offline: error"],
        ),
        (
            "search/training.py",
            [
                *("--model", "resnet6", "--point", "S3", "--width", "0.125", "--side", "16", "--images", "96"),
                *("--batch", "32", "--epochs", "1", "--matrix", "128", "--kd", "off", "strong", "--device", "cpu"),
            ],
            ["| resnet6 S3, width 0.125, 16x16, batch 32, fp32, KD strong |", "of matrix rate"],
        ),
        ("core/nonlinear.py", ["--inferences", "1"], ["| Rescale, ot |", "| MaxPool 3x3, stride 2, delphi |"]),
        (
            "service/private.py",
            ["--relus", "12288", "--width", "0.125", "--inferences", "1", "--protocol", "ot", "--network", "lan"],
            ["| 1,536 ot lan |", "MB client / server"],
        ),
        (
            "service/imagenet.py",
            ["--models", "squeezenet", "--image", "64", "--inferences", "1"],
            ["| squeezenet, 277,672 ot none |", "| 0 of "],
        ),
        ("service/faults.py", ["--runs", "3", "--workers", "1"], ["used twice: **0**", "| client: greeting, HELLO |"]),
    ],
)
def test_scripts_print_their_tables(script, arguments, rows):
    before = sorted((BENCH / "results").iterdir())
    command = [sys.executable, BENCH / script, *arguments, "--print"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert all(row in done.stdout for row in rows), done.stdout
    assert "NOT as predicted" not in done.stdout
    assert sorted((BENCH / "results").iterdir()) == before


def test_savings_are_measured_at_equal_counts(tmp_path):
    """A narrow network: times mean nothing, but the records must be whole and a shift cheaper than a ReLU."""
    size = ("--model", "resnet10", "--width", "0.125", "--image", "16", "--classes", "10")
    settings = ("--steps", "1", "0.25", "--inferences", "1", "--hardware", "here", "--results", tmp_path)
    done = subprocess.run(
        [sys.executable, BENCH / "service" / "savings.py", *size, *settings],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.glob("savings_here_*.json")
    content = json.loads(path.read_text())
    runs = content["runs"]
    assert [r["way"] for r in runs] == ["layers", "channels", "elements"] * 2
    everything = runs[0]["relus"]
    assert [r["relus"] for r in runs[:3]] == [everything] * 3
    for layers, channels, elements in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
        assert layers["relus"] == elements["relus"]
        assert channels["relus"] == pytest.approx(layers["relus"], rel=0.05)
        assert len({r["rounds"] for r in (layers, channels, elements)}) == 1, "the same network otherwise"
        for r in (layers, channels, elements):
            assert r["relus"] + r["rescaled"] == everything, "what is removed is shifted"
            assert 0 < r["online_s"] < 60 and r["online_spread_s"][0] <= r["online_s"] <= r["online_spread_s"][1]
    for way in ("layers", "channels", "elements", "all"):
        assert content["fits"]["online_bytes"][way]["slope"] > 20, "a shift opens bits, a ReLU selects elements"
    assert len(content["ratios"]) == 1 and min(content["ratios"]) > 0
    [figure] = tmp_path.glob("savings_here_*.svg")
    assert ET.fromstring(figure.read_text()).tag.endswith("svg")
    page = path.with_suffix(".md").read_text()
    assert figure.name in page and "us per ReLU plus" in page and "random elements at the count" in page
