"""The client's store: its identity, the plans that it has seen, and material for any number of servers."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .store import SECRET, Purpose, Store
from .summary import SERVED, Selection

MAX_BYTES = 4 * 10**9  # a server keeps about as much for one client
KEPT_PLANS = 32


class ClientStore(Store):
    """Several processes may use one at a time; a batch goes to one of them. ``max_bytes``: of all servers' batches."""

    _full_hint = (
        "use what is prepared, delete what is not needed (deepreduce store prune), or allow more: `max_store_bytes`"
    )

    def __init__(self, folder: Path | str, max_bytes: int = MAX_BYTES, key: Path | str | None = None) -> None:
        super().__init__(folder, "client", max_bytes, key)

    def identity(self, server_name: str) -> bytes:
        """Return the secret identity that gives access to what is prepared at the servers of that name.

        HKDF (RFC 5869): servers of different names cannot tell that they have the same client, nor use its identity
        with each other.
        """
        return HKDF(SHA256(), SECRET, None, b"deepreduce client identity" + server_name.encode()).derive(
            bytes(self._secret)
        )

    def check_room(self, purpose: Purpose, size: int) -> None:
        """Raise `StoreFullError` unless a batch of ``size`` bytes may be added, after burning what may go."""
        with self._trusted() as db:
            self._make_room(db, purpose, size)

    def prune(self, selection: Selection) -> tuple[int, int]:
        """Burn the selected batches; return how many, and their bytes. Beside running clients: they find them used."""
        condition, values = selection.condition()
        count = f"SELECT count(*), total(bytes) FROM batches WHERE state = 'ready' AND {condition}"
        with self._trusted() as db:
            batches, size = db.execute(count, values).fetchone()
            self._burn_until(db, condition, values, 1 << 62)
        return int(batches), int(size)

    def plan_at(self, place: str) -> str | None:
        """Return the digest of the plan that was last served at a place ("host:port"), if its content is here."""
        with self._database.reading() as db:
            row = db.execute(
                "SELECT plan FROM servers JOIN plans ON digest = plan WHERE place = ?", (place,)
            ).fetchone()
            return None if row is None else str(row[0])

    def plan(self, digest: str) -> bytes | None:
        """Return a plan's canonical bytes, as they once came from a server that announced the digest."""
        with self._database.reading() as db:
            row = db.execute("SELECT content FROM plans WHERE digest = ?", (digest,)).fetchone()
        # Anything else would be asked for in vain, again and again.
        whole = row is not None and isinstance(row[0], bytes) and hashlib.sha256(row[0]).hexdigest() == digest
        return row[0] if whole else None

    def remember(self, place: str, server: str, digest: str, content: bytes | None) -> None:
        """Remember the server and the plan at a place; ``content`` if the plan is new here."""
        with self._database.reading() as db:
            row = db.execute("SELECT server, plan FROM servers WHERE place = ?", (place,)).fetchone()
        if content is None and row == (server, digest):
            return
        with self._database.transaction() as db:
            if content is not None:
                db.execute("INSERT OR REPLACE INTO plans VALUES (?, ?)", (digest, content))
                old = "SELECT rowid FROM plans ORDER BY rowid DESC LIMIT -1 OFFSET ?"
                db.execute(f"DELETE FROM plans WHERE rowid IN ({old})", (KEPT_PLANS,))
            db.execute("INSERT OR REPLACE INTO servers VALUES (?, ?, ?)", (place, server, digest))

    def _stale(self, purpose: Purpose) -> tuple[str, tuple[object, ...]]:
        # For a server that is no longer at any place: it has lost its store, or changed its weights. The one that is
        # asked now is there, though another process may have met its successor at the same place.
        return f"NOT {SERVED} AND peer <> ?", (purpose.peer,)
