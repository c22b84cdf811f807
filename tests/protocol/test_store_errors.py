"""A disk that fails (EIO) at any write, sync or statement: one line, nothing lost, nothing left open, no stray file."""

import errno
import os
import sqlite3
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from deepreduce.errors import StoreError
from deepreduce.inference.protocol.material import Plain
from deepreduce.inference.store import ClientStore, Purpose, ServerStore, database

PURPOSE = Purpose("peer", "plan", "delphi", 1)
PLAIN = Plain({"x": np.arange(5)}, {})
OLD, NEW = bytes(16), bytes([1] * 16)
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


def files(folder):
    return len(list((folder / "batches").iterdir()))


def opened(role, folder):
    return ClientStore(folder) if role == "client" else ServerStore(folder, 1 << 20, 1 << 20)


def twice(work):
    """Once more after an error, which it returns with what came of the work."""
    try:
        return work(), None
    except StoreError as error:
        return work(), error


def use(role, folder):
    """Opens, adds a batch, claims the one that was there; returns what was claimed, and the errors on the way."""
    store = opened(role, folder)
    try:
        _, first = twice(lambda: store.add(NEW, PURPOSE, bytes(32), PLAIN))
        claimed, second = twice(
            lambda: store.claim_next(PURPOSE) if role == "client" else store.claim(OLD, PURPOSE.peer)
        )
        limit = time.monotonic() + 10
        while files(folder) != store.ready() and time.monotonic() < limit:  # a thread removes them
            time.sleep(0.001)
        assert files(folder) == store.ready()
        return claimed, first or second
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
    for at in range(1, MOST):
        folder = root / str(at)
        store = opened(role, folder)
        store.add(OLD, PURPOSE, bytes(32), PLAIN)
        store.close()
        with failing(monkeypatch, at) as happened:
            try:
                claimed, error = use(role, folder)
            except StoreError as raised:  # at opening
                claimed, error = None, raised
        assert not descriptors(folder), at
        if not happened:
            break
        assert error is not None, at
        assert "\n" not in str(error)
        store = opened(role, folder)
        assert files(folder) == store.ready()
        ready = {row[0] for row in store._database._connection.execute("SELECT id FROM batches WHERE state = 'ready'")}
        assert claimed is None or claimed.batch_id not in ready
        store.close()
    else:
        pytest.fail("there were more steps than expected")
    assert at > 20
