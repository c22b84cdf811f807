"""A folder of one-time material: each batch is ready or burnt, and never ready again.

    store.sqlite    a row for each batch: whose it is, and the key of its file while it is ready (key_wrapping.py)
    burnt.log       what was burnt (spent_list.py)
    batches/<id>    the bulk (encrypted_file.py)

*Kept*: the file is written whole and synced, then its row is committed; a file without a row is removed at the next
start, a row without a file burnt. *Used*: one transaction deletes the batch's key and says that it is being burnt, the
list gets its entry, and another transaction says that it is burnt; all is on the disk before `claim` returns. Then the
file is read with the key from memory, and removed. So a crash leaves a batch that was never begun, or none.
"""

from __future__ import annotations

import json
import logging
import operator
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from ...errors import StoreError
from ...files import parse_json
from ...locks import try_lock
from ...units import show_bytes
from ..protocol.material import Plain
from ..zeroize import fresh_key, wipe, wiping
from .database import FORMAT, Database, damaged_error, disk_error
from .encrypted_file import KEY, DamagedError, seal, sealed_bytes, unseal
from .files import remove_unlocked, sync_folder, write_all
from .filesystem import refuse_network_folder
from .key_sources import key_sources
from .key_wrapping import SALT, Wrapping, WrongKeyError, new_lock, open_lock
from .spent_list import ENTRY, BurntList, Known

log = logging.getLogger("deepreduce.store")
DATABASE, BURNT, BATCHES, LOCK, STATE = "store.sqlite", "burnt.log", "batches", "lock", "state"
OURS = {
    DATABASE,
    f"{DATABASE}-journal",
    BURNT,
    BATCHES,
    LOCK,
    STATE,
}  # STATE: what was counted (inference/access/usage_ledger.py)
SECRET = 32  # bytes: a client's identity, what a server's is made from
BOUND_SECRET = (b"secret",)
BURNING = "burning"  # the fact that names the batches which are being burnt
OF_PURPOSE = "peer = ? AND plan = ? AND protocol = ? AND batch = ?"


class LostBatchError(StoreError):
    """A batch that was ready, and now is burnt, cannot be read."""


class StoreFullError(StoreError):
    """The store's own limit is reached."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """Use of a batch: peer, computation (a digest), how, for how many images."""

    peer: str
    plan: str
    protocol: str
    batch: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A batch that was ready and is burnt."""

    batch_id: bytes
    purpose: Purpose
    transcript: bytes
    plain: Plain


class Store:
    """The folder, opened. ``role``: "client" or "server". ``max_bytes``: of all files together. ``key``: the file with
    the key that locks it; None: where `key_sources` finds one.

    Raises `StoreError` at a folder that cannot be used, or a wrong key; then nothing is touched. ``notices`` says what
    was burnt at opening, and why. Threads and processes may share a store; the child of a fork must open it again.
    """

    _full_hint = "use what is prepared, or allow more"

    def __init__(self, folder: Path | str, role: str, max_bytes: int, key: Path | str | None = None) -> None:
        self.folder = Path(folder)
        self.notices: list[str] = []
        self._max_bytes = max_bytes
        refuse_network_folder(self.folder)
        self._make_folders()
        self._database = Database(self.folder / DATABASE)
        self._burnt = BurntList(self.folder / BURNT)
        try:
            with self._database.transaction() as db:
                self._check_role(db, role)
            self._find_key(key)
            with self._trusted() as db:
                self._tidy(db)
        except BaseException:
            self._database.close()
            raise

    def count(self, purpose: Purpose) -> int:
        """Batches that are ready for it."""
        with self._database.reading() as db:
            found = db.execute(f"SELECT count(*) FROM batches WHERE state = 'ready' AND {OF_PURPOSE}", astuple(purpose))
            return int(found.fetchone()[0])

    def bytes_used(self, peer: str | None = None) -> int:
        """Return the bytes of all ready batches, or of one peer's."""
        with self._database.reading() as db:
            return _used(db, peer)

    def ready(self) -> int:
        """Return all batches that are ready."""
        with self._database.reading() as db:
            return int(db.execute("SELECT count(*) FROM batches WHERE state = 'ready'").fetchone()[0])

    def add(self, batch_id: bytes, purpose: Purpose, transcript: bytes, plain: Plain) -> None:
        """Keeps a batch. Raises `StoreFullError` at a limit, `StoreError` (a full disk ...); then nothing is kept."""
        key, size = fresh_key(KEY), sealed_bytes(plain)
        with self._trusted() as db:
            self._make_room(db, purpose, size)
        with wiping(key), self._new_file(batch_id) as file:
            try:
                seal(lambda piece: write_all(file, piece), key, batch_id, plain)
                os.fsync(file)
                sync_folder(self._path(batch_id).parent)
            except OSError as error:
                raise disk_error(error, self._path(batch_id)) from error
            with self._trusted() as db:
                self._make_room(db, purpose, size)  # another process may have been faster
                wrapped = self._wrapping.wrap(key, _bound(batch_id, purpose))
                row = (batch_id, *astuple(purpose), transcript, size, time.time(), "ready", wrapped)
                names = "id, peer, plan, protocol, batch, transcript, bytes, created, state, key"
                db.execute(f"INSERT INTO batches ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def claim_next(self, purpose: Purpose) -> Claimed | None:
        """Burns the oldest batch for it and returns what it was; None if there is none. Passes over damaged ones."""
        while (row := self._burn_one(OF_PURPOSE, astuple(purpose))) is not None:
            try:
                return self._read(row)
            except LostBatchError as error:
                self._notice(f"a prepared batch was lost: {error.message}")
        return None

    def claim(self, batch_id: bytes, peer: str) -> Claimed | None:
        """Burns the peer's batch of that id and returns what it was; None if there is none, whatever others have.

        Raises `LostBatchError` when it cannot be read, and so is burnt in vain; another `StoreError` burns nothing, but
        for what a disk that fails in the middle costs.
        """
        row = self._burn_one("id = ? AND peer = ?", (batch_id, peer))
        return None if row is None else self._read(row)

    def close(self) -> None:
        """Other processes may go on."""
        self._database.close()
        wipe(self._secret)

    # --- for the two roles -------------------------------------------------------------------------------------------

    def _make_room(self, db: sqlite3.Connection, purpose: Purpose, size: int) -> None:
        """Raises `StoreFullError` unless ``size`` more bytes are allowed, after burning what may go."""
        if _used(db) + size > self._max_bytes:
            self._burn_until(db, *self._stale(purpose), _used(db) + size - self._max_bytes)
        if _used(db) + size > self._max_bytes:
            raise StoreFullError(
                f"the store {self.folder} holds {show_bytes(_used(db))}, one more batch takes {show_bytes(size)}, "
                f"{show_bytes(self._max_bytes)} are allowed",
                self._full_hint,
            )

    def _stale(self, purpose: Purpose) -> tuple[str, tuple[object, ...]]:
        """Return which batches may be burnt to make room, as a condition with its values."""
        return "FALSE", ()

    def _burn_until(self, db: sqlite3.Connection, condition: str, values: tuple[object, ...], size: int) -> None:
        """Burns the oldest of those until ``size`` bytes are free, or none is left."""
        rows = db.execute(
            f"SELECT id, bytes FROM batches WHERE state = 'ready' AND {condition} ORDER BY number", values
        ).fetchall()
        burnt = []
        for batch_id, length in rows:
            if size <= 0:
                break
            burnt.append(batch_id)
            size -= length
        if burnt:
            self._burn(db, burnt)
            for batch_id in burnt:  # if the transaction fails, their rows have lost their files, and are burnt later
                self._remove(batch_id)

    def _fact(self, db: sqlite3.Connection, name: str) -> bytes | None:
        row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        if row is not None and not isinstance(row[0], bytes):
            raise damaged_error(self.folder / DATABASE)
        return None if row is None else row[0]

    def _set_fact(self, db: sqlite3.Connection, name: str, value: bytes) -> None:
        db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    # --- the key -----------------------------------------------------------------------------------------------------

    def _find_key(self, key: Path | str | None) -> None:
        """The key that the store is locked with, or a new one. A keyring may ask the user: no transaction waits."""
        sources = key_sources(key)
        for source in sources:
            if source.is_within(self.folder):
                raise StoreError(f"{source.name} lies in the store that it locks", "keep it in another folder")
        with self._database.reading() as db:
            locked = self._fact(db, "salt") is not None
        if not locked:
            salt = os.urandom(SALT)
            wrapping, told = new_lock(sources, salt)
            if told is not None:
                log.warning("%s", told)  # at once: whatever comes next may fail
            with self._database.transaction() as db:
                if self._fact(db, "salt") is None:  # else another process was faster
                    self._wrap_all(db, wrapping, salt)
        with self._database.reading() as db:
            salt, secret = self._fact(db, "salt") or b"", self._fact(db, "secret") or b""
        self._wrapping, self._secret = open_lock(sources, salt, secret, BOUND_SECRET, self.folder)

    def _wrap_all(self, db: sqlite3.Connection, wrapping: Wrapping, salt: bytes) -> None:
        """Wraps what there is: nothing, or the keys of a store of format 1, which kept them as they are."""
        secret = self._fact(db, "identity") or self._fact(db, "secret") or fresh_key(SECRET)
        db.execute("DELETE FROM facts WHERE name = 'identity'")
        self._set_fact(db, "salt", salt)
        self._set_fact(db, "secret", wrapping.wrap(secret, BOUND_SECRET))
        rows = db.execute("SELECT id, peer, plan, protocol, batch, key FROM batches WHERE state = 'ready'").fetchall()
        for batch_id, peer, plan, protocol, batch, key in rows:
            wrapped = wrapping.wrap(key, _bound(batch_id, Purpose(peer, plan, protocol, batch)))
            db.execute("UPDATE batches SET key = ? WHERE id = ?", (wrapped, batch_id))
        db.execute(f"PRAGMA user_version={FORMAT}")
        if rows:
            self._notice(
                f"the store {self.folder} was not locked and now is: older copies of it, and what the disk keeps of "
                "the old file, are still readable"
            )

    # --- one-time use ------------------------------------------------------------------------------------------------

    def _burn_one(self, condition: str, values: tuple[object, ...]) -> sqlite3.Row | None:
        """Return the row of the oldest such batch, which is burnt and listed."""
        with self._database.transaction() as db:
            self._trust(db)
            found = db.execute(
                "SELECT id, peer, plan, protocol, batch, transcript, key FROM batches "
                f"WHERE state = 'ready' AND {condition} ORDER BY number LIMIT 1",
                values,
            ).fetchone()
            if found is not None:
                self._burn(db, [found[0]])
        row: sqlite3.Row | None = found
        if row is not None:
            try:
                with self._database.transaction() as db:
                    self._trust(db)
            except BaseException:
                self._unburn(row)
                raise
        return row

    def _unburn(self, row: sqlite3.Row) -> None:
        """Make a batch ready again if it could not be listed, for instance since the disk was full."""
        batch_id, wrapped = row[0], row[-1]
        with suppress(StoreError), self._database.transaction() as db:
            known = self._burnt.unchanged(self._known(db))
            if self._burning(db) == [batch_id] and known is not None:
                db.execute("UPDATE batches SET state = 'ready', key = ? WHERE id = ?", (wrapped, batch_id))
                self._remember(db, known)
                return
        self._remove(batch_id)

    @contextmanager
    def _trusted(self) -> Iterator[sqlite3.Connection]:
        """Yield a transaction of a store that is what it seems; what it burns is listed before the block has ended."""
        with self._database.transaction() as db:
            self._trust(db)
            yield db
            burns = bool(self._burning(db))
        if burns:
            with self._database.transaction() as db:
                self._trust(db)

    def _burn(self, db: sqlite3.Connection, batch_ids: list[bytes]) -> None:
        """Delete their keys, in the caller's transaction; the next `_trust` lists them. Raises `StoreError` where a row
        that was read cannot be found again: the database is damaged, and the batch would be claimed again and again.
        """
        for batch_id in batch_ids:
            changed = db.execute("UPDATE batches SET state = 'burnt', key = NULL WHERE id = ?", (batch_id,)).rowcount
            if changed != 1:
                raise damaged_error(self.folder / DATABASE)
        self._set_fact(db, BURNING, b"".join([*self._burning(db), *batch_ids]))

    def _trust(self, db: sqlite3.Connection) -> None:
        """List what is being burnt, and burn everything if the list is not the one that is known."""
        known, burning = self._known(db), self._burning(db)
        if self._burnt.is_known(known, burning):
            if burning:
                self._remember(db, self._burnt.append(known, burning))
            return
        lost = [row[0] for row in db.execute("SELECT id FROM batches WHERE state = 'ready'")]
        db.execute("UPDATE batches SET state = 'burnt', key = NULL WHERE state = 'ready'")
        self._remember(db, self._burnt.recorded())
        for batch_id in lost:  # if the transaction fails, they are burnt at the next look
            self._remove(batch_id)
        if lost:
            self._notice(
                f"the store {self.folder} was copied or restored: {len(lost)} prepared batches are burnt, since they "
                "may have been used"
            )

    def _known(self, db: sqlite3.Connection) -> Known:
        fact = self._fact(db, "burnt")
        if fact is None:
            known = self._burnt.create()
            self._remember(db, known)
            return known
        try:
            inode, changed_ns, length = map(operator.index, parse_json(fact))
        except (TypeError, ValueError):
            raise damaged_error(self.folder / DATABASE) from None
        return Known(inode, changed_ns, length)

    def _burning(self, db: sqlite3.Connection) -> list[bytes]:
        """Return the batches without a key that are perhaps not listed yet."""
        joined = self._fact(db, BURNING) or b""
        if len(joined) % ENTRY:
            raise damaged_error(self.folder / DATABASE)
        return [joined[at : at + ENTRY] for at in range(0, len(joined), ENTRY)]

    def _remember(self, db: sqlite3.Connection, known: Known) -> None:
        """All that is burnt is listed."""
        self._set_fact(db, "burnt", json.dumps(astuple(known)).encode())
        db.execute("DELETE FROM facts WHERE name = ?", (BURNING,))

    def _read(self, row: sqlite3.Row) -> Claimed:
        """Return the bulk of a batch that was just burnt; its file goes."""
        batch_id, peer, plan, protocol, batch, transcript, wrapped = row
        path, purpose = self._path(batch_id), Purpose(peer, plan, protocol, batch)
        try:
            key = self._wrapping.unwrap(wrapped, _bound(batch_id, purpose))
            with wiping(key):
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    plain = unseal(file, key, batch_id)
                finally:
                    os.close(file)
        except OSError as error:
            told = disk_error(error, path)
            raise LostBatchError(told.message, told.hint) from error
        except (DamagedError, WrongKeyError) as error:
            raise LostBatchError(f"{path} is damaged: {error.message}", "prepare again") from None
        finally:
            self._remove_soon(batch_id)
        return Claimed(batch_id, purpose, transcript, plain)

    # --- files -------------------------------------------------------------------------------------------------------

    def _path(self, batch_id: bytes) -> Path:
        return self.folder / BATCHES / batch_id.hex()

    def _remove_soon(self, batch_id: bytes) -> None:
        """Remove the file in a thread, as freeing its blocks takes as long as reading it; at once if there is none."""
        try:
            threading.Thread(target=self._remove, args=(batch_id,)).start()
        except RuntimeError:  # out of threads: the batch that was read must still be returned
            self._remove(batch_id)

    def _remove(self, batch_id: bytes) -> None:
        with suppress(OSError):  # without its key it is noise
            self._path(batch_id).unlink(missing_ok=True)

    @contextmanager
    def _new_file(self, batch_id: bytes) -> Iterator[int]:
        """Yield a new file, locked until the block ends so that `_tidy` of another process leaves it; removed on an
        error.
        """
        path, file = self._path(batch_id), None
        try:
            with self._database.transaction():  # so that `_tidy` sees it locked, or not at all
                try:
                    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                except FileExistsError:
                    raise StoreError(f"the batch {batch_id.hex()} is there already", "prepare again") from None
                if not try_lock(file):
                    raise StoreError(f"{path} is locked by another process", "prepare again")
            yield file
        except BaseException:
            if file is not None:
                self._remove(batch_id)
            raise
        finally:
            if file is not None:
                os.close(file)

    def _tidy(self, db: sqlite3.Connection) -> None:
        """Burns rows without a file, removes files without a row."""
        ready = {row[0].hex() for row in db.execute("SELECT id FROM batches WHERE state = 'ready'")}
        found = {path.name for path in (self.folder / BATCHES).iterdir()}
        if missing := ready - found:
            self._burn(db, [bytes.fromhex(name) for name in missing])
            self._notice(f"{len(missing)} prepared batches of {self.folder} have lost their files and are burnt")
        for name in found - ready:
            remove_unlocked(self.folder / BATCHES / name)

    def _make_folders(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.chmod(0o700)
            if self.folder.stat().st_mode & 0o077:
                raise StoreError(f"others may read the store {self.folder}", f"chmod 700 {self.folder}")
            if not OURS.issuperset(path.name for path in self.folder.iterdir()):
                raise StoreError(f"{self.folder} holds something else", "choose an empty or a new folder for the store")
            (self.folder / BATCHES).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.folder) from error

    def _check_role(self, db: sqlite3.Connection, role: str) -> None:
        found = self._fact(db, "role")
        if found is None:
            self._set_fact(db, "role", role.encode())
        elif found == (b"client" if role == "server" else b"server"):
            raise StoreError(f"{self.folder} is the store of a {found.decode()}", "choose another folder")
        elif found != role.encode():
            raise damaged_error(self.folder / DATABASE)

    def _notice(self, text: str) -> None:
        self.notices.append(text)
        log.warning("%s", text)


def _bound(batch_id: bytes, purpose: Purpose) -> list[bytes]:
    """Return what a batch's key is bound to."""
    return [b"batch", batch_id, *(str(part).encode() for part in astuple(purpose))]


def _used(db: sqlite3.Connection, peer: str | None = None) -> int:
    condition, values = ("", ()) if peer is None else (" AND peer = ?", (peer,))
    return int(db.execute(f"SELECT total(bytes) FROM batches WHERE state = 'ready'{condition}", values).fetchone()[0])
