"""Content of a store, read beside processes that use it: no key is needed, nothing is changed, no secret is shown."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...errors import SettingError, StoreError, one_line
from ..identity import peers_of
from .database import damaged_error
from .store import DATABASE

WAIT_S = 5.0  # for another process that writes
LATEST = 1e11  # seconds since 1970: the year 5138
SERVED = "peer IN (SELECT server FROM servers)"


@dataclass(frozen=True, slots=True)
class Selection:
    """Batches of a client's store that meet every condition; by default all that are ready.

    ``plans``: digests, or how they begin, in hexadecimal digits. ``unused``: only what no server is known to take any
    more. ``before``: only what was prepared until then (seconds since 1970); None: at any time.
    """

    plans: tuple[str, ...] = ()
    unused: bool = False
    before: float | None = None

    def __post_init__(self) -> None:
        for plan in self.plans:
            if re.fullmatch("[0-9a-f]{4,64}", plan) is None:
                raise SettingError(f"{plan!r:.80} is not a plan's digest", "give its first digits, at least 4 of them")

    def condition(self) -> tuple[str, tuple[object, ...]]:
        """Return it as SQL, with its values."""
        parts, values = ["TRUE"], list[object]()
        if self.before is not None:
            parts.append("created <= ?")
            values.append(self.before)
        if self.plans:
            parts.append(f"({' OR '.join(['substr(plan, 1, ?) = ?'] * len(self.plans))})")
            values += [value for plan in self.plans for value in (len(plan), plan)]
        if self.unused:
            parts.append(f"NOT {SERVED}")
        return " AND ".join(parts), tuple(values)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Batches that are ready for one server, plan, protocol and number of images.

    ``server``: its address when the client last saw it there; None: another plan, other weights or another store are
    there now, so that the batches are of no use unless the former come back. ``oldest``, ``newest``: seconds since
    1970.
    """

    server: str | None
    plan: str
    protocol: str
    images: int
    batches: int
    bytes: int
    oldest: float
    newest: float


def store_summary(folder: Path) -> dict[str, int]:
    """Return {"ready": batches, "bytes": of their files}; zeros if the store does not exist. Raises `StoreError`."""
    ready, size = _counted(folder, "TRUE")
    return {"ready": ready, "bytes": size}


def store_held(folder: Path, identity: str) -> tuple[int, int]:
    """Return the batches, and their bytes, that are ready in a server's store for an identity. Raises `StoreError`."""
    return _counted(folder, "peer >= ? AND peer < ?", *peers_of(identity))


def _counted(folder: Path, condition: str, *values: str) -> tuple[int, int]:
    if not (folder / DATABASE).exists():
        return 0, 0
    with _reading(folder) as database:
        query = f"SELECT count(*), total(bytes) FROM batches WHERE state = 'ready' AND {condition}"
        ready, size = database.execute(query, values).fetchone()
        return int(ready), int(size)


def store_contents(folder: Path, selection: Selection | None = None) -> list[Prepared]:
    """Return what a client's store has ready, the newest last; nothing if the store does not exist.

    Raises `StoreError` for a damaged one, and for the store of a server.
    """
    if not (folder / DATABASE).exists():
        return []
    condition, values = (selection or Selection()).condition()
    place = "SELECT group_concat(place, ', ') FROM servers WHERE server = peer"
    with _reading(folder) as database:
        role = database.execute("SELECT value FROM facts WHERE name = 'role'").fetchone()
        if role is not None and role[0] == b"server":
            raise StoreError(f"{folder} is the store of a server", "name a client's; a server clears its own itself")
        rows = database.execute(
            f"SELECT ({place}), plan, protocol, batch, count(*), total(bytes), min(created), max(created) "
            f"FROM batches WHERE state = 'ready' AND {condition} GROUP BY peer, plan, protocol, batch "
            "ORDER BY max(created)",
            values,
        ).fetchall()
        kinds = (str | None, str, str, int, int, float, float, float)
        whole = all(isinstance(value, kind) for row in rows for value, kind in zip(row, kinds, strict=True))
        if not whole or not all(0 <= row[6] <= row[7] < LATEST for row in rows):
            raise damaged_error(folder / DATABASE)
        return [
            Prepared(server, plan, protocol, images, batches, int(size), oldest, newest)
            for server, plan, protocol, images, batches, size, oldest, newest in rows
        ]


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection for queries; like any opening it rolls back what a crash left half written."""
    path = folder / DATABASE
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=WAIT_S)
        try:
            yield database
        finally:
            database.close()
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreError(f"{path} is being written by another process", "try again") from error
        raise StoreError(f"{path} cannot be read: {one_line(error)}", "is it damaged?") from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} cannot be read: {one_line(error)}", "is it damaged?") from error
