"""The store's files: a sealed batch, the list of what is burnt, the database, each damaged in its own way."""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from deepreduce.inference.protocol.material import Plain
from deepreduce.inference.store import ClientStore, Purpose
from deepreduce.inference.store.encrypted_file import HEADER, MAGIC, seal, unseal
from deepreduce.inference.store.spent_list import ENTRY, BurntList, Known
from deepreduce.inference.store.summary import store_summary
from fuzz.edits import joined, parts, patch, patched
from fuzz.scratch import scratch, written
from fuzz.target import target

KEY, BATCH = bytes(32), bytes(range(16))
PURPOSE = Purpose("12" * 16, "ab" * 32, "ot", 1)
PLAIN = Plain({"a": np.arange(5, dtype=np.uint64), "b/0": np.zeros((2, 3), np.uint8)}, {"offline": {"seconds": 1.5}})


def sealed_file(plain: Plain) -> bytes:
    """A batch's file."""
    pieces: list[bytes] = []
    seal(lambda piece: pieces.append(bytes(piece)), KEY, BATCH, plain)
    return b"".join(pieces)


def opened(content: bytes) -> Plain:
    """What the store reads of a file."""
    path = written("sealed", content)
    file = os.open(path, os.O_RDONLY)
    try:
        return unseal(file, KEY, BATCH)
    finally:
        os.close(file)


def resealed(text: bytes) -> bytes:
    """A file with this plain text."""
    header = HEADER.pack(MAGIC, len(text))
    return header + AESGCM(KEY).encrypt(bytes(12), text, header + BATCH)


def sealed_seeds() -> Iterator[bytes]:
    yield b"\0" + sealed_file(PLAIN)
    yield b"\0" + sealed_file(Plain({}, {}))
    text = b'{"facts":{},"arrays":[["a","<u8",[3],0],["b","|u1",[2,2],64]]}'
    yield b"\1" + len(text).to_bytes(8, "little") + text + bytes(96)
    yield b"\1" + (2).to_bytes(8, "little") + b"[]"
    yield b"\1" + (200).to_bytes(8, "little") + b"{}"


@target(sealed_seeds, memory_mb=32)
def sealed(data: bytes) -> None:
    """A file as it lies on the disk (0), or its plain text, as a version of ours that errs might have sealed it (1)."""
    found = opened(resealed(data[1:]) if data[:1] == b"\1" else data[1:])
    again = opened(sealed_file(found))
    assert again.facts == found.facts
    assert all(np.array_equal(again.arrays[name], array) for name, array in found.arrays.items())


def burnt_seeds() -> Iterator[bytes]:
    yield joined(b"", bytes(range(32)))
    yield joined(bytes([16]), bytes(range(48)))
    yield joined(bytes([40]), bytes(range(33)))
    yield joined(bytes([16, 0, *range(16, 48)]), bytes(range(40)))


@target(burnt_seeds)
def burnt(data: bytes) -> None:
    """burnt.log of any length, against what the database remembers: only what is being burnt may be new in it."""
    first, content = parts(data, 2)
    path = written("burnt.log", content)
    found, length = path.stat(), int.from_bytes(first[:2], "little")
    known = Known(found.st_ino, found.st_ctime_ns, length)
    burning = first[2:]
    batches = [burning[at : at + ENTRY] for at in range(0, len(burning) // ENTRY * ENTRY, ENTRY)]
    fits = length <= len(content) and b"".join(batches).startswith(content[length:])
    assert BurntList(path).is_known(known, batches) == fits


@functools.cache
def whole_store() -> Path:
    """A client's store with two batches, one plan and one server."""
    folder = scratch() / "store-whole"
    store = ClientStore(folder)
    for number in (1, 2):
        store.add(bytes([number]) * 16, PURPOSE, bytes(32), PLAIN)
    store.remember("server:7000", PURPOSE.peer, PURPOSE.plan, b"a plan")
    store.close()
    return folder


STATEMENTS = (
    "UPDATE batches SET {column} = {value}",
    "INSERT OR REPLACE INTO facts VALUES ('{name}', {value})",
    "UPDATE plans SET content = {value}",
    "UPDATE servers SET server = {value}",
    "DELETE FROM facts WHERE name = '{name}'",
    "PRAGMA user_version = 2",
)
COLUMNS = ("id", "peer", "plan", "protocol", "batch", "transcript", "bytes", "created", "key")
NAMES = ("burnt", "identity", "role", "burning")


def database_seeds() -> Iterator[bytes]:
    for statement in range(len(STATEMENTS)):
        for column in range(len(COLUMNS) if statement == 0 else len(NAMES) if statement in (1, 4) else 1):
            for kind, value in ((0, b"[1, 2]"), (1, b"text"), (2, b"\x40\x42\x0f")):
                yield bytes([1, statement, column, kind]) + value
    yield bytes([0]) + patch(0, b"SQLite format 4")
    yield bytes([0]) + patch(100, b"\xff" * 40)
    yield bytes([0]) + patch(16, b"\x02\x00")
    yield bytes([0]) + patch(8192 + 50, b"\x80" * 100)
    yield bytes([1, 1, 0, 0]) + b"null"
    yield bytes([1, 1, 3, 0]) + bytes(range(16))
    yield bytes([1, 1, 0, 0]) + b'["a", "b", "c"]'


@target(database_seeds, memory_mb=64, seconds=30, most_bytes=512)
def database(data: bytes) -> None:
    """store.sqlite damaged in its bytes (0) or in a value (1): clear errors, and no batch is given out twice."""
    folder = scratch() / "store"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole_store(), folder)
    path = folder / "store.sqlite"
    if data[:1] == b"\1":
        _change(path, data[1:])
    else:
        path.write_bytes(patched(path.read_bytes(), data[1:]))
    store_summary(folder)
    store = ClientStore(folder)
    try:
        assert isinstance(store.identity("server"), bytes)
        place = store.plan_at("server:7000")
        assert place is None or store.plan(place) is None
        store.count(PURPOSE), store.ready(), store.bytes_used()
        seen = set()
        while (claimed := store.claim_next(PURPOSE)) is not None:
            assert claimed.batch_id not in seen
            seen.add(claimed.batch_id)
        store.add(b"\7" * 16, PURPOSE, bytes(32), PLAIN)
    finally:
        store.close()


def _change(path: Path, data: bytes) -> None:
    """A value of another kind, where the schema allows it."""
    statement, column, kind, *_ = (*data, 0, 0, 0)
    value: object = data[3:]
    if kind % 3 == 1:
        value = data[3:].decode("utf-8", "replace")
    elif kind % 3 == 2:
        value = int.from_bytes(data[3:10], "little", signed=True)
    text = STATEMENTS[statement % len(STATEMENTS)].format(
        column=COLUMNS[column % len(COLUMNS)], name=NAMES[column % len(NAMES)], value="?"
    )
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(text, (value,) * text.count("?"))
    except sqlite3.Error:
        pass  # the schema refuses it
    finally:
        connection.close()
