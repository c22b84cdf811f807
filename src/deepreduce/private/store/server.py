"""The server's store: material for many clients, within limits for each and for all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import time
from pathlib import Path

from ...errors import StoreError
from .database import disk_error
from .store import LOCK, Purpose, Store, StoreFullError

STALE_S = 7 * 86400.0  # material that old gives way when there is no room
SECRET = 32


class ServerStore(Store):
    """One process at a time. ``max_peer_bytes``: of one client's files; beyond it the client's oldest batches go."""

    def __init__(self, folder: Path | str, max_bytes: int, max_peer_bytes: int) -> None:
        self._max_peer_bytes = max_peer_bytes
        self._lock_file: int | None = None
        try:
            super().__init__(folder, "server", max_bytes)
            try:
                with self._database.transaction() as db:
                    found = self._fact(db, "secret")
                    if found is None:
                        found = os.urandom(SECRET)
                        self._set_fact(db, "secret", found)
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            self._unlock()
            raise
        self._secret = found

    def identity(self, computation: str) -> str:
        """Names this store to clients, for one plan with its weights; says nothing about the weights."""
        return hashlib.sha256(b"deepreduce server" + self._secret + computation.encode()).hexdigest()[:32]

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
        path = self.folder / LOCK
        try:
            self._lock_file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another server uses the store {self.folder}", "give each server its own") from None
        except OSError as error:
            raise disk_error(error, path) from error

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

    def _stale(self) -> tuple[str, tuple[object, ...]]:
        return "created < ?", (time.time() - STALE_S,)
