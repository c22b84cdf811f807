"""What a store must be after any fault: seen from outside, by reading its files."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

ENTRY = 16  # of burnt.log


@dataclass(frozen=True, slots=True)
class Books:
    """A store's batches."""

    ready: frozenset[bytes]
    burnt: frozenset[bytes]


def books(folder: Path) -> Books:
    """Reads the folder's database."""
    database = sqlite3.connect(f"file:{folder / 'store.sqlite'}?mode=ro", uri=True, timeout=10)
    try:
        rows = database.execute("SELECT id, state FROM batches").fetchall()
    finally:
        database.close()
    return Books(*(frozenset(i for i, state in rows if state == wanted) for wanted in ("ready", "burnt")))


def complaints(folder: Path, before: Books) -> list[str]:
    """What is wrong with a store that nobody is writing, given how it was earlier; empty when all is well."""
    database = sqlite3.connect(f"file:{folder / 'store.sqlite'}?mode=ro", uri=True, timeout=10)
    try:
        if database.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            return [f"{folder}: the database is damaged"]
        rows = database.execute("SELECT id, state, bytes, key FROM batches").fetchall()
    finally:
        database.close()
    ready = {i: size for i, state, size, _ in rows if state == "ready"}
    burnt = {i for i, state, _, _ in rows if state == "burnt"}
    files = {path.name: path.stat().st_size for path in (folder / "batches").iterdir()}
    log = (folder / "burnt.log").read_bytes()
    listed = [log[at : at + ENTRY] for at in range(0, len(log) // ENTRY * ENTRY, ENTRY)]
    found = []
    if missing := ready.keys() - {bytes.fromhex(name) for name in files}:
        found.append(f"{len(missing)} rows without a file")
    if extra := files.keys() - {i.hex() for i in ready}:
        found.append(f"{len(extra)} files without a row")
    if wrong := [i.hex() for i, size in ready.items() if files.get(i.hex(), size) != size]:
        found.append(f"{len(wrong)} files of another size than their rows say")
    if any(key is not None for _, state, _, key in rows if state == "burnt"):
        found.append("a burnt batch has its key")
    if len(listed) != len(set(listed)):
        found.append("a batch is listed as burnt twice")
    if not burnt <= set(listed) or set(listed) & ready.keys():
        found.append("list and database disagree about what is burnt")
    if not before.burnt <= burnt:
        found.append("what was burnt is not any more")
    if not before.ready <= burnt | ready.keys():
        found.append("a batch has vanished")
    return [f"{folder.name}: {text}" for text in found]
