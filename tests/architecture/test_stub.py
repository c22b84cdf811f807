"""The stub of the compiled module is the one that its present code gives."""

import subprocess
import sys
from pathlib import Path

import deepreduce


def test_the_stub_is_up_to_date(tmp_path):
    fresh = tmp_path / "_core.pyi"
    command = [sys.executable, "-m", "nanobind.stubgen", "--quiet", "-m", "deepreduce._core", "-o", str(fresh)]
    subprocess.run(command, check=True)
    checked_in = Path(deepreduce.__file__).parent / "_core.pyi"
    assert fresh.read_text() == checked_in.read_text(), "run `make stub`"
