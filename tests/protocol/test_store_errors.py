"""A disk that fails (EIO) at any write, sync or statement: one line, nothing lost, nothing left open, no stray file."""

import errno
import os
import sqlite3
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from deepreduce.errors import StoreError
from deepreduce.private.material import Plain
from deepreduce.private.store import ClientStore, Purpose, ServerStore, database

PURPOSE = Purpose("peer", "plan", "delphi", 1)
PLAIN = Plain({"x": np.arange(5)}, {})
MOST = 200  # steps, more than there are


class FailingConnection(sqlite3.Connection):
    """Statements count as steps."""

    step = staticmethod(lambda: None)

    def execute(self, *arguments):
        if self.step():
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(*arguments)


@contextmanager
def failing(monkeypatch, at):
    """While open, the step of that number fails, once; gives a list that is not empty when it has."""
    count, happened, connect = [0], [], sqlite3.connect

    def step():
        count[0] += 1
        if count[0] == at:
            happened.append(at)
        return count[0] == at

    def watched(work):
        def step_or_work(*arguments):
            if step():
                raise OSError(errno.EIO, "Input/output error")
            return work(*arguments)

        return step_or_work

    with monkeypatch.context() as patch:
        for name in ("write", "pwrite", "fsync"):
            patch.setattr(os, name, watched(getattr(os, name)))
        patch.setattr(FailingConnection, "step", staticmethod(step))
        patch.setattr(database.sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=FailingConnection))
        yield happened


def descriptors(folder):
    """What this process has open in a folder."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(path.readlink())
    return [path for path in found if path.is_relative_to(folder)]


def opened(role, folder):
    return ClientStore(folder) if role == "client" else ServerStore(folder, 1 << 20, 1 << 20)


def claim(role, store):
    return store.claim_next(PURPOSE) if role == "client" else store.claim(bytes(16), "peer")


def work(role, folder, found):
    """Opens, adds a batch, claims the one that was there."""
    store = opened(role, folder)
    try:
        store.add(bytes([1] * 16), PURPOSE, bytes(32), PLAIN)
        found.append("added")
        if claim(role, store) is not None:
            found.append("claimed")
    finally:
        store.close()


@pytest.fixture
def root(tmp_path):
    """In memory where that can be: syncing is free there."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_disk_that_fails_at_any_step(root, monkeypatch, role):
    failed = 0
    for at in range(1, MOST):
        folder, found, error = root / str(at), [], None
        store = opened(role, folder)
        store.add(bytes(16), PURPOSE, bytes(32), PLAIN)
        store.close()
        with failing(monkeypatch, at) as happened:
            try:
                work(role, folder, found)
            except StoreError as raised:
                error = raised
        assert not descriptors(folder), at
        if not happened:
            break
        assert error is not None, at
        assert "\n" not in str(error)
        files = [path.name for path in (folder / "batches").iterdir()]
        assert (bytes([1] * 16).hex() in files) == ("added" in found), at
        store = opened(role, folder)
        assert store.ready() + ("claimed" in found) <= 1 + ("added" in found)
        assert store.ready() >= 1 + ("added" in found) - 1
        assert len(list((folder / "batches").iterdir())) == store.ready()
        store.close()
        failed += 1
    else:
        pytest.fail("there were more steps than expected")
    assert failed > 20
