"""The scripts of bench/ run and fill their tables; what they measure is not judged here."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.parametrize(
    ("script", "arguments", "rows"),
    [
        (
            "kernels.py",
            ["--rounds", "1"],
            ["evaluate fused, ns per AND, cache", "transfer, ns, sender"],
        ),
        ("scaling.py", ["--least", "10", "--most", "12", "--inferences", "1"], ["| 2,048 delphi |", "to the power"]),
        ("nonlinear.py", ["--inferences", "1"], ["| Rescale, fused |", "| MaxPool 3x3, stride 2, delphi |"]),
        (
            "private.py",
            ["--relus", "12288", "--width", "0.125", "--inferences", "1", "--protocol", "fused", "--network", "lan"],
            ["| 1,536 fused lan |", "MB client / server"],
        ),
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
