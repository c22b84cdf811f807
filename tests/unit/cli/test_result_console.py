"""Results in files and pipes are whole; help on a narrow terminal can be read."""

import itertools
import json
import re

import pytest

from command_line import run_deepreduce

NARROW = {"COLUMNS": "40", "PATH": "/usr/bin:/bin"}


def test_tables_in_a_pipe_have_every_name_and_number_whatever_the_width():
    counted = json.loads(run_deepreduce("inspect", "resnet18", "--json", env=NARROW).stdout)
    shown = run_deepreduce("inspect", "resnet18", env=NARROW).stdout
    assert "…" not in shown
    lines = [line for line in shown.splitlines() if line.startswith("│")]
    assert len(counted["layers"]) > 40
    for layer in counted["layers"]:
        whole = re.compile(rf"│ {re.escape(layer['name'])} +│")
        assert any(whole.search(line) for line in lines), layer["name"]
    macs = sum(layer["macs"] for layer in counted["layers"])
    assert any(f"{macs:,}" in line and "total" in line for line in lines)


@pytest.mark.parametrize(
    ("verb", "panels", "most"),
    [
        ("search", ["Data", "Training", "Where trainings run", "Method", "Budgets and targets"], 180),
        ("export", ["A network of your own", "Images", "Plan and cost"], 120),
    ],
)
def test_help_is_in_panels_that_80_columns_suffice_for(verb, panels, most):
    shown = run_deepreduce(verb, "--help", env=NARROW | {"COLUMNS": "80"}).stdout
    assert [name for name in panels if f"╭─ {name} ─" in shown] == panels
    assert "…" not in shown and all(len(line) <= 80 for line in shown.splitlines())
    assert len(shown.splitlines()) < most, "narrow columns: words one under the other"


@pytest.mark.parametrize("verb", ["search", "export", "serve", "predict"])
def test_paragraphs_of_help_fill_the_width(verb):
    shown = run_deepreduce(verb, "--help", env=NARROW | {"COLUMNS": "80"}).stdout
    prose = shown[: shown.index("╭─")].split("\n")
    paragraphs = [[]]
    for line in map(str.strip, prose):
        paragraphs[-1].append(line) if line else paragraphs.append([])
    for lines in paragraphs:
        for line, following in itertools.pairwise(lines):
            assert len(line) + 1 + len(following.split()[0]) > 78, f"{line!r} breaks before {following!r}"
