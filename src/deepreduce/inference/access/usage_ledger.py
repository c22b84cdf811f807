"""Durable usage counters per identity: `quota.sqlite` in a folder that several server processes may share.

    counts     images prepared and predicted by an identity, for each computation (plan and weights), for ever
    recent     a row for each prediction that a window may still see
    quotas     what identities may use, as the last server had it
    present    what the processes that are alive hold for an identity: sessions, batches in memory, their bytes

A count is on the disk before `predict` and `prepare` return, and hence before anything that it counts is sent: a crash
can only count too much. A process is alive as long as it holds the lock on its file in `processes`; the operating
system lets go of it however the process ends.

journal_mode WAL with synchronous FULL syncs every commit, at a fifth of what a store's settings cost here; there are no
keys in this database that the journal might keep. It works between processes of one machine only.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from math import ceil, log2
from pathlib import Path

from ...errors import SettingError, StoreError, one_line
from ...files import parse_json
from ...locks import lock, try_lock
from ..transport.limit import Limit, LimitKind
from .quota import Quota, QuotaError, Quotas

LEDGER_FILE, PROCESSES = "quota.sqlite", "processes"
APPLICATION, FORMAT = 0x64726D71, 1  # "drmq"
# SECURITY.md, Parameters: 2^-NOISE_BITS bounds what the noise of one image's answers tells of the weights; of rings of
# more than 32 bits it tells less.
NOISE_BITS, WIDE_NOISE_BITS = 39.0, 46.5
WAIT_S = 30.0  # for another process that writes
SCHEMA = """
CREATE TABLE counts (
  identity TEXT NOT NULL, computation TEXT NOT NULL,
  prepared INTEGER NOT NULL DEFAULT 0, predicted INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (identity, computation)
);
CREATE TABLE recent (
  number INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL, second INTEGER NOT NULL, images INTEGER NOT NULL
);
CREATE INDEX recent_by_identity ON recent (identity, second);
CREATE TABLE present (
  process TEXT NOT NULL, identity TEXT NOT NULL,
  sessions INTEGER NOT NULL, batches INTEGER NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (process, identity)
);
"""
LATER_TABLES = (  # which earlier versions did not have, and do not miss
    "CREATE TABLE IF NOT EXISTS computations (computation TEXT PRIMARY KEY NOT NULL, ring_bits INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS digests ("
    "computation TEXT PRIMARY KEY NOT NULL, plan TEXT NOT NULL, weights TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS quotas (identity TEXT PRIMARY KEY NOT NULL, quota TEXT NOT NULL)",  # "": of all others
)


@dataclass(frozen=True, slots=True)
class Holding:
    """Holdings of a process for an identity: open sessions, batches in memory or being prepared, their bytes."""

    sessions: int = 0
    batches: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Booked:
    """A prediction that was counted and may be given back: its row in the window, if it has one."""

    identity: str
    computation: str
    images: int
    row: int | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of one computation by an identity (a digest of plan and weights), in images.

    ``ring_bits`` of the plan, the digests of ``plan`` and ``weights``: None where an earlier version counted.
    """

    identity: str
    computation: str
    prepared: int
    predicted: int
    ring_bits: int | None = None
    plan: str | None = None
    weights: str | None = None

    @property
    def leakage_log2(self) -> float | None:
        """The bound on what the noise of all prepared answers tells of the weights (SECURITY.md, Parameters).

        The statistical distance is at most 2 to this power; None where nothing was prepared. A ring that is not known
        counts as one of at most 32 bits, whose bound is the larger one.
        """
        if not self.prepared:
            return None
        wide = self.ring_bits is not None and self.ring_bits > 32
        return log2(self.prepared) / 2 - (WIDE_NOISE_BITS if wide else NOISE_BITS)


class UsageLedger:
    """The folder (made as needed), opened; None: counts end with the process. Threads may share it, forks may not.

    ``now``: seconds since 1970. Raises `StoreError`.
    """

    def __init__(self, folder: Path | str | None, now: Callable[[], float] = time.time) -> None:
        self.lasting = folder is not None
        self._now, self._lock = now, threading.RLock()
        self._folder = None if folder is None else Path(folder)
        self._process, self._presence = os.urandom(16).hex(), -1
        place = ":memory:" if self._folder is None else str(self._folder / LEDGER_FILE)
        self._place = place
        if self._folder is not None:
            self._presence = _take_place(self._folder, self._process)
        with self._errors():
            self._connection = sqlite3.connect(place, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    # --- images -------------------------------------------------------------------------------------------------------

    def predict(self, identity: str, quota: Quota, computation: str, images: int) -> Booked:
        """Counts a prediction, on the disk when this returns. Raises `QuotaError`; then nothing is counted."""
        second = int(self._now())
        with self._transaction() as db:
            used = _total(db, identity, "predicted")
            if quota.total is not None and used + images > quota.total:
                limit = Limit(LimitKind.QUOTA_TOTAL, quota.total)
                raise QuotaError(f"{used} of {quota.total} images in all are used", limit)
            row = None
            if quota.predictions is not None:
                self._check_window(db, identity, quota, second, images)
                row = db.execute("INSERT INTO recent VALUES (NULL, ?, ?, ?)", (identity, second, images)).lastrowid
            _count(db, identity, computation, "predicted", images)
        return Booked(identity, computation, images, row)

    def give_back(self, booked: Booked) -> None:
        """A prediction that was counted has not begun."""
        with self._transaction() as db:
            _count(db, booked.identity, booked.computation, "predicted", -booked.images)
            db.execute("DELETE FROM recent WHERE number = ? AND identity = ?", (booked.row, booked.identity))

    def prepare(self, identity: str, quota: Quota, computation: str, images: int) -> None:
        """Counts a preparation, on the disk when this returns, whatever becomes of it. Raises `QuotaError`."""
        with self._transaction() as db:
            _check_prepared(db, identity, quota, images)
            _count(db, identity, computation, "prepared", images)

    def check_prepared(self, identity: str, quota: Quota, images: int) -> None:
        """Raises `QuotaError` when so many could not be prepared."""
        with self._lock, self._errors():
            _check_prepared(self._connection, identity, quota, images)

    def describe(self, computation: str, ring_bits: int, plan: str, weights: str) -> None:
        """Note the ring of a computation, and the digests of its plan and weights, for `usage`."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO computations VALUES (?, ?)", (computation, ring_bits))
            db.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (computation, plan, weights))

    def usage(self) -> list[Usage]:
        """Return what was ever counted, by identity and computation."""
        with self._lock, self._errors():
            rows = self._connection.execute(
                "SELECT identity, computation, prepared, predicted, ring_bits, plan, weights FROM counts "
                "LEFT JOIN computations USING (computation) LEFT JOIN digests USING (computation) "
                "ORDER BY identity, computation"
            ).fetchall()
        return [Usage(*row) for row in rows]

    # --- for reports --------------------------------------------------------------------------------------------------

    def note_quotas(self, quotas: Quotas) -> None:
        """Note what identities may use now, for `quotas`."""
        rows = [("", quotas.default), *quotas.own.items()]
        with self._transaction() as db:
            db.execute("DELETE FROM quotas")
            db.executemany(
                "INSERT INTO quotas VALUES (?, ?)", [(name, json.dumps(asdict(quota))) for name, quota in rows]
            )

    def quotas(self) -> Quotas:
        """Return the quotas that were last noted. Raises `StoreError` where another version noted others."""
        with self._lock, self._errors():
            rows = dict(self._connection.execute("SELECT identity, quota FROM quotas").fetchall())
        try:
            found = {name: Quota(**parse_json(text)) for name, text in rows.items()}
        except (TypeError, ValueError, SettingError) as error:
            raise StoreError(
                f"the quotas in {self._place} cannot be read: {one_line(error)}", "start the server, which notes them"
            ) from None
        return Quotas(found.pop("", Quota()), found)

    def window(self, identity: str, window_s: float) -> tuple[int, int | None, int | None]:
        """Return the images that a window counts now, and in how many seconds the oldest and the newest leave it."""
        second, window = int(self._now()), ceil(window_s)
        with self._lock, self._errors():
            used, oldest, newest = self._connection.execute(
                "SELECT total(images), min(second), max(second) FROM recent WHERE identity = ? AND second >= ?",
                (identity, second - window),
            ).fetchone()
        if not used:
            return 0, None, None
        return int(used), min(oldest, second) + window + 1 - second, min(newest, second) + window + 1 - second

    def totals(self, identity: str) -> tuple[int, int]:
        """Return the images that an identity has ever prepared and predicted, over all plans."""
        with self._lock, self._errors():
            return _total(self._connection, identity, "prepared"), _total(self._connection, identity, "predicted")

    def present(self) -> set[str]:
        """Return the identities for whom a process holds something."""
        with self._lock, self._errors():
            return {row[0] for row in self._connection.execute("SELECT DISTINCT identity FROM present")}

    def held(self, identity: str) -> Holding:
        """Return what all other processes that are alive hold for an identity."""
        with self._transaction(durable=False) as db:
            return self._others(db, identity)

    # --- what is held -------------------------------------------------------------------------------------------------

    def enter(self, identity: str, quota: Quota, mine: Holding) -> None:
        """One more session, with which this process holds ``mine``. Raises `QuotaError`; then it does not count."""
        with self._transaction(durable=False) as db:
            others = self._others(db, identity)
            if quota.connections is not None and others.sessions + mine.sessions > quota.connections:
                limit = Limit(LimitKind.QUOTA_CONNECTIONS, quota.connections)
                count = others.sessions + mine.sessions - 1
                raise QuotaError(f"{count} of {quota.connections} connections are open", limit)
            self._set(db, identity, mine)

    def reserve(self, identity: str, quota: Quota, mine: Holding, stored: Holding = Holding()) -> None:
        """One more batch, with which this process holds ``mine``, beside what is ``stored`` for all processes.

        Raises `QuotaError`; then it does not count.
        """
        with self._transaction(durable=False) as db:
            others = self._others(db, identity)
            batches = others.batches + mine.batches + stored.batches
            size = others.size + mine.size + stored.size
            if quota.ready is not None and batches > quota.ready:
                limit = Limit(LimitKind.QUOTA_READY, quota.ready)
                raise QuotaError(f"{batches - 1} of {quota.ready} batches are ready", limit)
            if quota.ready_bytes is not None and size > quota.ready_bytes:
                limit = Limit(LimitKind.QUOTA_READY_BYTES, quota.ready_bytes)
                raise QuotaError(f"with one batch more {size} of {quota.ready_bytes} bytes would be ready", limit)
            self._set(db, identity, mine)

    def hold(self, identity: str, mine: Holding) -> None:
        """Record what this process holds now."""
        with self._transaction(durable=False) as db:
            self._set(db, identity, mine)

    def close(self) -> None:
        """This process holds nothing more."""
        with self._lock, suppress(sqlite3.Error):
            if self._presence >= 0:
                self._connection.execute("DELETE FROM present WHERE process = ?", (self._process,))
            self._connection.close()
        if self._folder is not None and self._presence >= 0:
            with suppress(OSError):
                (self._folder / PROCESSES / self._process).unlink(missing_ok=True)
                os.close(self._presence)
            self._presence = -1

    # --- within a transaction -----------------------------------------------------------------------------------------

    def _check_window(self, db: sqlite3.Connection, identity: str, quota: Quota, second: int, images: int) -> None:
        assert quota.predictions is not None
        # What a clock that has been set back calls the future happened by now.
        db.execute("UPDATE recent SET second = ? WHERE identity = ? AND second > ?", (second, identity, second))
        window = ceil(quota.window_s)
        db.execute("DELETE FROM recent WHERE identity = ? AND second < ?", (identity, second - window))
        rows = db.execute(
            "SELECT second, images FROM recent WHERE identity = ? ORDER BY second", (identity,)
        ).fetchall()
        used = sum(row[1] for row in rows)
        excess = used + images - quota.predictions
        if excess <= 0:
            return
        retry = 0
        if images <= quota.predictions:
            for then, count in rows:  # the oldest leave the window first
                excess -= count
                if excess <= 0:
                    retry = then + window + 1 - second
                    break
        limit = Limit(LimitKind.QUOTA_PREDICTIONS, quota.predictions, window)
        raise QuotaError(f"{used} of {quota.predictions} images in {quota.window_s:g} s are used", limit, retry)

    def _others(self, db: sqlite3.Connection, identity: str) -> Holding:
        """Return what other processes hold for it, of those that are alive."""
        rows = db.execute(
            "SELECT process, sessions, batches, bytes FROM present WHERE identity = ? AND process != ?",
            (identity, self._process),
        ).fetchall()
        alive = []
        for process, *held in rows:
            if self._folder is not None and _has_ended(self._folder / PROCESSES / process):
                db.execute("DELETE FROM present WHERE process = ?", (process,))
            else:
                alive.append(held)
        return Holding(*(sum(column) for column in zip(*alive, strict=True))) if alive else Holding()

    def _set(self, db: sqlite3.Connection, identity: str, mine: Holding) -> None:
        if mine == Holding():
            db.execute("DELETE FROM present WHERE process = ? AND identity = ?", (self._process, identity))
        else:
            row = (self._process, identity, mine.sessions, mine.batches, mine.size)
            db.execute("INSERT OR REPLACE INTO present VALUES (?, ?, ?, ?, ?)", row)

    # --- the database -------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Yield everything in the block or nothing, one process at a time. ``durable``: on the disk when the block
        ends.

        A `QuotaError` is raised before anything is counted; what was tidied up until then stays.
        """
        with self._lock, self._errors():
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            refused: QuotaError | None = None
            try:
                try:
                    yield self._connection
                except QuotaError as error:
                    refused = error
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
            if refused is not None:
                raise refused

    def _begin(self) -> None:
        with self._errors():
            for setting in ("journal_mode=WAL", "trusted_schema=OFF"):
                self._connection.execute(f"PRAGMA {setting}").fetchall()
        with self._transaction() as db:
            found = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
            if found == (APPLICATION, FORMAT):
                for statement in LATER_TABLES:
                    db.execute(statement)
                return
            if any(found) or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StoreError(
                    f"{self._place} was made by another version, or is something else", "choose another folder"
                )
            for statement in (*SCHEMA.split(";"), *LATER_TABLES):
                db.execute(statement)
            db.execute(f"PRAGMA application_id={APPLICATION}")
            db.execute(f"PRAGMA user_version={FORMAT}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            hint = "check its permissions and the disk; without it nothing would be counted, so nothing is served"
            raise StoreError(f"{self._place} cannot be used: {one_line(error)}", hint) from error


def _total(db: sqlite3.Connection, identity: str, column: str) -> int:
    return int(db.execute(f"SELECT total({column}) FROM counts WHERE identity = ?", (identity,)).fetchone()[0])


def _check_prepared(db: sqlite3.Connection, identity: str, quota: Quota, images: int) -> None:
    if quota.prepared is not None and (used := _total(db, identity, "prepared")) + images > quota.prepared:
        limit = Limit(LimitKind.QUOTA_PREPARED, quota.prepared)
        raise QuotaError(f"{used} of {quota.prepared} images were prepared", limit)


def _count(db: sqlite3.Connection, identity: str, computation: str, column: str, images: int) -> None:
    db.execute("INSERT OR IGNORE INTO counts (identity, computation) VALUES (?, ?)", (identity, computation))
    db.execute(
        f"UPDATE counts SET {column} = {column} + ? WHERE identity = ? AND computation = ?",
        (images, identity, computation),
    )


def _take_place(folder: Path, process: str) -> int:
    """Return the folders, private to their owner, and a file that is locked while this process lives."""
    places = folder / PROCESSES
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            folder.chmod(0o700)
        if folder.stat().st_mode & 0o077:
            raise StoreError(f"others may read the counts in {folder}", f"chmod 700 {folder}")
        places.mkdir(mode=0o700, exist_ok=True)
        with _locked(places):  # else another process could take a file that is not locked yet for an old one
            for path in places.iterdir():
                _has_ended(path)
            file = os.open(places / process, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            lock(file)  # it is new: no one else has it
        return file
    except OSError as error:
        raise StoreError(f"{folder} cannot be used: {error.strerror or error}", "check its permissions") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lock(handle)
        yield
    finally:
        os.close(handle)


def _has_ended(path: Path) -> bool:
    """Return whether the process of that file has ended; then its file is removed."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:  # out of descriptors ...: nothing is known of it
        return False
    try:
        ended = try_lock(file)
        if ended:
            path.unlink(missing_ok=True)
        return ended
    except OSError:
        return False
    finally:
        os.close(file)
