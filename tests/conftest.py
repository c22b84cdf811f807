"""Shared by all tests: helper modules beside this file can be imported, and one thread per test process."""

import contextlib
import os
import sys
from pathlib import Path

import pytest

from deepreduce import _core

with contextlib.suppress(ImportError):  # the private half is tested without it, too
    import torch

    torch.set_num_threads(1)

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def store_key(tmp_path_factory):
    """Stores of tests are locked with a key of their own: the user's keyring and folders are left alone."""
    before = os.environ.get("DEEPREDUCE_STORE_KEY")
    path = tmp_path_factory.mktemp("key") / "store.key"
    path.write_bytes(os.urandom(32))
    path.chmod(0o600)
    os.environ["DEEPREDUCE_STORE_KEY"] = str(path)
    yield path
    os.environ.pop("DEEPREDUCE_STORE_KEY")
    if before is not None:
        os.environ["DEEPREDUCE_STORE_KEY"] = before


@pytest.fixture(params=_core.cpu_paths())
def cpu_path(request):
    """Runs the test once on every kernel path that this machine has."""
    before = _core.cpu_path()
    _core.select_cpu_path(request.param)
    yield request.param
    _core.select_cpu_path(before)


@pytest.fixture(scope="session", autouse=True)
def no_configuration_of_the_user(tmp_path_factory):
    """What `serve` makes on first use belongs into the tests' own folder."""
    os.environ["DEEPREDUCE_CONFIG"] = str(tmp_path_factory.mktemp("config"))
