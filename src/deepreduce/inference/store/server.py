"""The server's store: material for many clients, within limits for each and for all."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import StoreError
from ...locks import try_lock
from .database import disk_error
from .store import LOCK, Purpose, Store, StoreFullError

STALE_S = 7 * 86400.0  # material that old gives way when there is no room


class ServerStore(Store):
    """One server at a time. ``max_peer_bytes``: of one client's files; beyond it the client's oldest batches go.

    ``lock``: the store's lock from `hold_store`, inherited from the supervising process: the processes of one server
    share a store.
    """

    def __init__(
        self,
        folder: Path | str,
        max_bytes: int,
        max_peer_bytes: int,
        key: Path | str | None = None,
        lock: int | None = None,
    ) -> None:
        self._held = lock
        self._max_peer_bytes = max_peer_bytes
        self._lock_file: int | None = None
        try:
            super().__init__(folder, "server", max_bytes, key)
        except BaseException:
            self._unlock()
            raise

    def identity(self, computation: str) -> str:
        """Names this store to clients, for one plan with its weights; says nothing about the weights."""
        return hashlib.sha256(b"deepreduce server" + self._secret + computation.encode()).hexdigest()[:32]

    def held(self, first: str, beyond: str) -> tuple[int, int]:
        """(batches, bytes) that are ready for peers from ``first`` on and before ``beyond``, in the order of text.

        What is stale is burnt first: a client that has lost its part must not be held to it for ever.
        """
        theirs, ready = (
            "peer >= ? AND peer < ?",
            "SELECT count(*), total(bytes) FROM batches WHERE state = 'ready' AND ",
        )
        stale = (first, beyond, time.time() - STALE_S)
        with self._database.reading() as db:
            old = db.execute(f"{ready}{theirs} AND created < ?", stale).fetchone()[0]
        if old:
            with self._trusted() as db:
                self._burn_until(db, f"{theirs} AND created < ?", stale, 1 << 62)
        with self._database.reading() as db:
            found = db.execute(ready + theirs, (first, beyond)).fetchone()
        return int(found[0]), int(found[1])

    def close(self) -> None:
        """Another process may open it."""
        super().close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _make_folders(self) -> None:
        super()._make_folders()
        self._lock_file = _locked(self.folder) if self._held is None else os.dup(self._held)

    def _make_room(self, db: sqlite3.Connection, purpose: Purpose, size: int) -> None:
        used = int(
            db.execute(
                "SELECT total(bytes) FROM batches WHERE state = 'ready' AND peer = ?", (purpose.peer,)
            ).fetchone()[0]
        )
        if size > self._max_peer_bytes:
            raise StoreFullError(f"a batch of {size:,} bytes, a client may have {self._max_peer_bytes:,}")
        # A client knows how many it may hold: its oldest here are those that it has lost.
        self._burn_until(db, "peer = ?", (purpose.peer,), used + size - self._max_peer_bytes)
        super()._make_room(db, purpose, size)

    def _stale(self, purpose: Purpose) -> tuple[str, tuple[object, ...]]:
        return "created < ?", (time.time() - STALE_S,)


@contextmanager
def hold_store(folder: Path | str) -> Iterator[int]:
    """Yield the store's lock, to be inherited by the processes that are to use it together."""
    folder = Path(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            folder.chmod(0o700)
    except OSError as error:
        raise disk_error(error, folder) from error
    file = _locked(folder)
    try:
        yield file
    finally:
        os.close(file)


def _locked(folder: Path) -> int:
    """Return the lock file, open; it is unlocked when every copy of the descriptor is closed."""
    path = folder / LOCK
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        free = try_lock(file)
    except OSError as error:
        os.close(file)
        raise disk_error(error, path) from error
    if not free:
        os.close(file)
        raise StoreError(f"another server uses the store {folder}", "give each server its own")
    return file
