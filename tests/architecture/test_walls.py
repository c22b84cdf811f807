"""The import rules of pyproject.toml hold, and each of them sees a planted violation."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

#: contract -> (file below src/deepreduce, a line that it must not have)
PLANTED = {
    "flow": ("networks/layout.py", "from ..search import config"),
    "private-inference-flow": ("inference/identity.py", "from .. import private"),
    "plan-is-shared": ("plan/shapes.py", "from ..networks import layout"),
    "learning-and-inference-apart": ("export/folder.py", "from ..inference import checks"),
    "inference-and-learning-apart": ("inference/identity.py", "from ..data import dataset"),
    "training-knows-no-plan": ("jobs/spec.py", "from ..plan import schema"),
    "training-knows-no-network": ("train/recipe.py", "from ..networks import layout"),
    "report-reads-files": ("report/palette.py", "from ..plan import schema"),
    "torch-free": ("plan/npy.py", "import torch"),
    "protocol-without-sockets": ("inference/protocol/material.py", "import socket"),
    "transport-without-cryptography": ("inference/transport/frames.py", "from ..protocol import linear"),
    "no-circles": ("plan/cost/op_counts.py", "from . import latency"),
}


def lint(source: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Check the package below ``source`` with this repository's rules."""
    chosen = [option for name in contracts for option in ("--contract", name)]
    # An editable installation would lead the import system back to this repository's own sources.
    code = (
        "import sys; from importlinter.cli import lint_imports_command; sys.argv[0] = 'lint'; "
        "sys.meta_path[:] = [f for f in sys.meta_path if not type(f).__module__.startswith('_editable')]; "
        "lint_imports_command()"
    )
    return subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "--config",
            str(ROOT / "pyproject.toml"),
            "--cache-dir",
            str(source / "cache"),
            *chosen,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"},
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(
        ROOT / "src" / "deepreduce", folder / "deepreduce", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    return folder


def test_all_rules_hold(source):
    done = lint(source)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken" in done.stdout


def test_every_rule_has_a_planted_violation():
    assert {contract["id"] for contract in CONTRACTS} == set(PLANTED)


@pytest.mark.parametrize("contract", PLANTED)
def test_a_planted_violation_is_found(source, contract):
    path, line = PLANTED[contract]
    file = source / "deepreduce" / path
    whole = file.read_text()
    try:
        file.write_text(
            whole.replace("from __future__ import annotations", f"from __future__ import annotations\n\n{line}", 1)
        )
        assert file.read_text() != whole
        done = lint(source, contract)
    finally:
        file.write_text(whole)
    assert done.returncode == 1 and "1 broken" in done.stdout, done.stdout
    assert re.search(rf"\.{Path(path).stem}\b", done.stdout)  # the importer is named
