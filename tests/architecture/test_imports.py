"""Who may import whom (docs/layout.md), and what the command line may load before it answers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import deepreduce

ROOT = Path(deepreduce.__file__).parent

ALWAYS = {"errors", "files", "locks", "paths", "processor", "version"}
# package -> packages of ours that it may import besides ALWAYS
MAY = {
    "errors": set(),
    "files": set(),
    "locks": set(),
    "paths": set(),
    "processor": set(),
    "version": {"_version"},  # written when it is installed
    "plan": set(),
    "inference": {"plan", "_core"},
    "private": {"inference"},
    "networks": set(),
    "reduce": {"networks"},
    "data": set(),
    "train": {"data"},
    "jobs": {"networks", "reduce", "data", "train"},
    "search": {"networks", "reduce", "data", "train", "jobs", "report", "plan"},
    "report": set(),
    "reproduce": {"networks", "reduce", "data", "train", "jobs", "search", "report", "plan", "export"},
    "benchmark": {"plan", "inference", "_core", "jobs", "search", "export", "data"},
    "export": {"networks", "reduce", "data", "plan", "jobs", "search", "train", "_core"},
}
TORCH_FREE = {"plan", "inference", "report", "cli", *ALWAYS}


def imports(path: Path) -> set[str]:
    """Absolute names of every module that the file imports, wherever in the file."""
    package = ("deepreduce", *path.relative_to(ROOT).parent.parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_import_rule(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    home = parts[0]
    if home in {"__init__", "__main__"}:
        return
    names = imports(path)
    ours = {name.split(".")[1] for name in names if name.startswith("deepreduce.")} - {*ALWAYS, home}
    if home != "cli":
        assert home in MAY, f"new package {home}: give it a row here and in docs/layout.md"
        assert ours <= MAY[home]
    if home in TORCH_FREE:
        assert not {name for name in names if name.split(".")[0] == "torch"}


def test_the_rule_sees_what_it_forbids(tmp_path):
    """The check itself can fail."""
    sample = ROOT / "report" / "views" / "report.py"
    assert "deepreduce.errors.StoreError" in imports(sample)
    assert any(name.startswith("deepreduce.networks.") for name in imports(ROOT / "reduce" / "cull.py"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["search", "--help"],
        ["inspect", "--help"],
        ["bench", "--help"],
        ["export", "--help"],
        ["serve", "--help"],
        ["predict", "--help"],
        ["reproduce", "--help"],
    ],
)
def test_help_does_not_load_torch(arguments):
    code = (
        "import sys; sys.argv = ['deepreduce', *sys.argv[1:]]\n"
        "from deepreduce.cli.main import run\n"
        "try: run()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'plotly', 'matplotlib', 'sklearn', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_import_alone_loads_nothing_heavy():
    code = (
        "import sys, deepreduce; assert 'torch' not in sys.modules; deepreduce.Network; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
