"""Every example runs, in the order of the flow, as its docstring says."""

import subprocess
import sys
from pathlib import Path

import pytest

from small_data import write_folder

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(script, *arguments, cwd):
    command = [sys.executable, EXAMPLES / script, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", ["1_count_relus.py", "2_rewrite_your_network.py"])
def test_counting_and_rewriting(script):
    assert run(script, cwd=EXAMPLES)


@pytest.mark.parametrize(
    ("script", "says"),
    [("5_private_prediction.py", "as in the clear: True"), ("7_onnx_network.py", "the plan's integers: True")],
)
def test_private_prediction(script, says, tmp_path):
    assert says in run(script, cwd=tmp_path)


def test_from_search_to_service(tmp_path):
    data = f"folder:{write_folder(tmp_path / 'data')}"
    found = run("3_find_a_frontier.py", "--model", "resnet6", "--data", data, "--epochs", 1, "--jobs", 1, cwd=tmp_path)
    assert "Frontier of" in found and (tmp_path / "example-search" / "frontier.svg").is_file()
    exported = run("4_export_a_plan.py", cwd=tmp_path)
    assert "4 pictures" in exported and (tmp_path / "example-plan" / "plan.json").is_file()
    answers = run("6_serve_and_predict.py", cwd=tmp_path)
    assert answers.count(".png: ") == 4 and answers.startswith("serving example-plan")
