"""SQLite as a store needs it: what was committed survives a loss of power, and its errors are one line.

journal_mode DELETE with synchronous EXTRA: a commit is done when the journal is gone and the folder synced. FULL alone
may roll the last commit back after a loss of power, and a burnt batch would be ready again; WAL would keep keys that
were deleted in its file. secure_delete overwrites a key when its batch is burnt.

Format 1 kept the keys as they are, format 2 wraps them.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import StoreError, one_line

APPLICATION = 0x64726D74  # "drmt"
FORMAT = 2
OLDER = (1,)  # which `Store` brings up to date
WAIT_S = 30.0  # for another process that writes
SETTINGS = ("journal_mode=DELETE", "synchronous=EXTRA", "secure_delete=ON", "fullfsync=ON", "trusted_schema=OFF")
SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE batches (
  number INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  peer TEXT NOT NULL,
  plan TEXT NOT NULL,
  protocol TEXT NOT NULL,
  batch INTEGER NOT NULL,
  transcript BLOB NOT NULL,
  bytes INTEGER NOT NULL,
  created REAL NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('ready', 'burnt')),
  key BLOB,
  CHECK ((state = 'ready') = (key IS NOT NULL))
);
CREATE INDEX by_state ON batches (state, peer, plan, protocol, batch, number);
CREATE TABLE plans (digest TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE servers (place TEXT PRIMARY KEY, server TEXT NOT NULL, plan TEXT NOT NULL);
"""


_CREATING = threading.Lock()


class Database:
    """One connection, one transaction at a time; several processes may have the file open, but not across a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock, self._process = threading.RLock(), os.getpid()
        with self._errors():
            _create(path)
            self._connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
            try:
                self._begin()
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield everything in the block or nothing; on the disk when the block ends. Excludes all other writers."""
        with self._ours(), self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for single queries."""
        with self._ours(), self._errors():
            yield self._connection

    def close(self) -> None:
        """No more queries."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _ours(self) -> Iterator[None]:
        """Yield one thread at a time, and never a child that got the connection by a fork: SQLite forbids it."""
        if os.getpid() != self._process:  # before the lock, which a thread of the parent may have held
            raise StoreError("the process was forked while the store was open", "open the store in each process")
        with self._lock:
            yield

    def _begin(self) -> None:
        for setting in SETTINGS:
            self._connection.execute(f"PRAGMA {setting}")
        with self.transaction() as db:
            application, version = (
                db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            )
            if application == APPLICATION and version in (FORMAT, *OLDER):
                return
            if application or version or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StoreError(
                    f"{self._path} was made by another version, or is something else", "choose another folder"
                )
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id={APPLICATION}")
            db.execute(f"PRAGMA user_version={FORMAT}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explained(error) from error
        except UnicodeDecodeError as error:  # of a damaged file's own names
            raise damaged_error(self._path) from error
        except OSError as error:
            raise disk_error(error, self._path) from error

    def _explained(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        match code:
            case sqlite3.SQLITE_FULL:
                return StoreError(f"{self._path}: the disk is full", "make room; what is prepared is kept")
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return StoreError(f"{self._path} is being written by another process", "try again")
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                return damaged_error(self._path)
            case _:
                return StoreError(
                    f"{self._path} cannot be used: {one_line(error)}", "check its permissions and the disk"
                )


def _create(path: Path) -> None:
    """An empty file that only its owner may read, unless there is one: SQLite would let others read it.

    A file that exists is never opened here. POSIX locks belong to the process, and closing any descriptor of the file
    ends them all: another connection of this process would go on in its transaction without excluding other processes,
    and both could claim one batch.
    """
    with _CREATING, suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def damaged_error(path: Path) -> StoreError:
    """Return the error for a database with content that was never written."""
    return StoreError(f"{path} is damaged", f"delete the folder {path.parent}: it is lost, prepare again")


def disk_error(error: OSError, path: Path) -> StoreError:
    """Return what the operating system says of a file of a store, on one line."""
    if error.errno in (28, 122, 27):  # ENOSPC, EDQUOT, EFBIG
        return StoreError(f"{path}: the disk is full", "make room; what is prepared is kept")
    return StoreError(f"{path} cannot be used: {error.strerror or error}", "check its permissions and the disk")
