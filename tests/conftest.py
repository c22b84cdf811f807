"""Shared by all tests: helper modules beside this file can be imported, and one thread per test process."""

import contextlib
import sys
from pathlib import Path

import pytest

from deepreduce import _core

with contextlib.suppress(ImportError):  # the private half is tested without it, too
    import torch

    torch.set_num_threads(1)

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=_core.cpu_paths())
def cpu_path(request):
    """Runs the test once on every kernel path that this machine has."""
    before = _core.cpu_path()
    _core.select_cpu_path(request.param)
    yield request.param
    _core.select_cpu_path(before)
