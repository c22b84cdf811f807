"""Shared by all tests: helper modules in support/ can be imported, and one thread per test process."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import pytest

from deepreduce import _core

with contextlib.suppress(ImportError):  # the private half is tested without it, too
    import torch

    torch.set_num_threads(1)

sys.path[:0] = [str(Path(__file__).parent / "support"), str(Path(__file__).parent)]

# Stores of tests are locked with a key of their own: the user's keyring and folders are left alone. Set here, since
# some modules open stores when they are imported.
_keys = tempfile.TemporaryDirectory(prefix="deepreduce-test-key-")
KEY_FILE = Path(_keys.name) / "store.key"
KEY_FILE.write_bytes(os.urandom(32))
KEY_FILE.chmod(0o600)
os.environ["DEEPREDUCE_STORE_KEY"] = str(KEY_FILE)


@pytest.fixture(scope="session")
def store_key():
    """The file with the key of all stores."""
    return KEY_FILE


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
