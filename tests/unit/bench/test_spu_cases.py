"""The cases that bench/peers/spu.py is asked for are those that it runs."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "bench" / "peers" / "spu.py"


@pytest.fixture(scope="module")
def spu():
    specification = importlib.util.spec_from_file_location("spu_script", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("arguments", [["--case", "relu:64", "--case", "resnet18"], ["--case", "relu:64", "resnet18"]])
def test_all_cases_run(spu, arguments):
    assert spu.parsed(arguments).case == ["relu:64", "resnet18"]


def test_without_a_case_all_of_them(spu):
    assert spu.parsed([]).case == spu.CASES
