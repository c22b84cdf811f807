"""The store of one-time material: whole or not at all, used once, and what it does about crashes, copies and damage."""

import contextlib
import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deepreduce.errors import StoreError
from deepreduce.inference.protocol.material import Plain
from deepreduce.inference.store import (
    ClientStore,
    Purpose,
    Selection,
    ServerStore,
    StoreFullError,
    store_contents,
)
from deepreduce.inference.store.encrypted_file import SEGMENT, DamagedError, seal, sealed_bytes, unseal
from deepreduce.inference.store.spent_list import BurntList
from deepreduce.inference.store.summary import store_summary

PURPOSE = Purpose("peer", "plan", "ot", 1)
TRANSCRIPT = bytes(range(32))


def plain(seed=0, size=1000):
    rng = np.random.default_rng(seed)
    arrays = {
        "a": rng.integers(0, 2**63, (size, 3), np.uint64),
        "b.16": rng.integers(0, 255, size + 1, np.uint8),
        "empty": np.empty((0, 4), np.uint16),
    }
    return Plain(arrays, {"seed": seed})


def same(a, b):
    return (
        a.facts == b.facts
        and a.arrays.keys() == b.arrays.keys()
        and all(a.arrays[k].dtype == b.arrays[k].dtype and np.array_equal(a.arrays[k], b.arrays[k]) for k in a.arrays)
    )


def name(number):
    return number.to_bytes(16, "big")


def filled(folder, count, **settings):
    store = ClientStore(folder, **settings)
    for number in range(count):
        store.add(name(number), PURPOSE, TRANSCRIPT, plain(number))
    return store


def files(folder):
    return {path.name for path in (folder / "batches").iterdir()}


# --- the sealed file -------------------------------------------------------------------------------------------------


def sealed(tmp_path, content, key=bytes(32), number=1):
    path = tmp_path / "sealed"
    with path.open("wb") as file:
        seal(lambda piece: file.write(piece) and None, key, name(number), content)
    return path


def opened(path, key=bytes(32), number=1):
    with path.open("rb") as file:
        return unseal(file.fileno(), key, name(number))


@pytest.mark.parametrize("size", [0, 1, 1000, SEGMENT // 24 - 3, SEGMENT // 8])
def test_what_is_sealed_is_read_again(tmp_path, size):
    content = plain(size, size)
    path = sealed(tmp_path, content)
    assert path.stat().st_size == sealed_bytes(content)
    found = opened(path)
    assert same(content, found)
    assert all(array.ctypes.data % 64 == 0 for array in found.arrays.values() if array.size)


@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte_is_noticed(tmp_path_factory, place, change):
    path = sealed(tmp_path_factory.mktemp("sealed"), plain(0, SEGMENT // 16))
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= change
    path.write_bytes(content)
    with pytest.raises(DamagedError):
        opened(path)


def test_what_is_cut_moved_or_opened_otherwise_is_refused(tmp_path):
    path = sealed(tmp_path, plain(0, SEGMENT // 8))
    whole = path.read_bytes()
    head, each = 16, SEGMENT + 16
    first, second, rest = whole[head : head + each], whole[head + each : head + 2 * each], whole[head + 2 * each :]
    swapped = whole[:head] + second + first + rest
    for content in (b"", whole[:10], whole[:-1], whole[: head + each], whole + b"x", swapped):
        path.write_bytes(content)
        with pytest.raises(DamagedError):
            opened(path)
    path.write_bytes(whole)
    with pytest.raises(DamagedError):
        opened(path, key=b"x" * 32)
    with pytest.raises(DamagedError):
        opened(path, number=2)
    assert b"facts" not in whole


# --- one-time use ----------------------------------------------------------------------------------------------------


def test_a_file_of_nothing_is_damaged(tmp_path):
    (tmp_path / "sealed").write_bytes(b"DEEPRED1" + bytes(8))
    with pytest.raises(DamagedError):
        opened(tmp_path / "sealed")


def test_batches_come_in_order_once_and_through_restarts(tmp_path):
    store = filled(tmp_path / "s", 3)
    assert store.count(PURPOSE) == 3
    first = store.claim_next(PURPOSE)
    assert (first.batch_id, first.transcript, first.purpose) == (name(0), TRANSCRIPT, PURPOSE)
    assert same(first.plain, plain(0))
    store.close()
    store = ClientStore(tmp_path / "s")
    assert not store.notices
    assert [store.claim_next(PURPOSE).batch_id for _ in range(2)] == [name(1), name(2)]
    assert store.claim_next(PURPOSE) is None
    assert store.count(PURPOSE) == store.bytes_used() == 0


def test_only_the_right_purpose_and_peer(tmp_path):
    store = filled(tmp_path / "s", 1)
    for change in ({"peer": "x"}, {"plan": "x"}, {"protocol": "delphi"}, {"batch": 2}):
        assert store.claim_next(replace(PURPOSE, **change)) is None
    assert store.claim(name(0), "another") is None
    assert store.count(PURPOSE) == 1
    assert store.claim(name(0), "peer").batch_id == name(0)
    assert store.claim(name(0), "peer") is None


def test_without_threads_a_batch_is_returned_and_its_file_goes(tmp_path, monkeypatch):
    """It is burnt by then: nothing else would ever read or overwrite it."""
    store = filled(tmp_path / "s", 1)

    def no_thread(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    found = store.claim_next(PURPOSE)
    assert same(found.plain, plain(0))
    assert not files(tmp_path / "s")


def test_nothing_of_a_burnt_batch_can_be_read(tmp_path):
    folder = tmp_path / "s"
    store = filled(folder, 1)
    with sqlite3.connect(folder / "store.sqlite") as db:
        (wrapped,) = db.execute("SELECT key FROM batches").fetchone()
    assert wrapped in (folder / "store.sqlite").read_bytes()
    store.claim_next(PURPOSE)
    store.close()
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert not any(wrapped in path.read_bytes() for path in left)
    assert "burnt" in {row[0] for row in sqlite3.connect(folder / "store.sqlite").execute("SELECT state FROM batches")}


def test_modes_of_folder_and_files(tmp_path):
    before = os.umask(0)
    try:
        filled(tmp_path / "s", 1).close()
    finally:
        os.umask(before)
    for path in [tmp_path / "s", *(tmp_path / "s").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def race(folder, start, out):
    store = ClientStore(folder)
    start.wait()
    found = []
    while (claimed := store.claim_next(PURPOSE)) is not None:
        found.append(claimed.batch_id)
    out.put(found)


def test_processes_that_race_get_different_batches(tmp_path):
    filled(tmp_path / "s", 24).close()
    context = multiprocessing.get_context("spawn")
    start, out = context.Barrier(2), context.Queue()
    racers = [context.Process(target=race, args=(tmp_path / "s", start, out)) for _ in range(2)]
    for racer in racers:
        racer.start()
    one, other = out.get(timeout=60), out.get(timeout=60)
    for racer in racers:
        racer.join()
    assert sorted(one + other) == [name(number) for number in range(24)]


# --- crashes, copies, damage -----------------------------------------------------------------------------------------


def test_opening_a_store_again_leaves_the_locks_of_the_process_alone(tmp_path):
    """POSIX locks end with any descriptor of the file that the process closes."""
    first = filled(tmp_path / "s", 1)
    program = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], timeout=0.1, isolation_level=None)\n"
        "try:\n    db.execute('BEGIN IMMEDIATE')\n"
        "except sqlite3.OperationalError:\n    sys.exit(7)\n"
    )

    def excluded():
        return subprocess.run([sys.executable, "-c", program, tmp_path / "s" / "store.sqlite"], check=False).returncode

    second = threading.Thread(target=ClientStore, args=(tmp_path / "s",))
    with first._database.transaction():
        assert excluded() == 7
        second.start()  # waits for the transaction's end
        second.join(0.3)
        assert excluded() == 7
    second.join()
    assert excluded() == 0


def test_a_forked_process_gets_nothing(tmp_path):
    store = filled(tmp_path / "s", 1)
    child = os.fork()
    if not child:
        try:
            store.claim_next(PURPOSE)
        except StoreError as error:
            os._exit(5 if "forked" in error.message else 6)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert store.claim_next(PURPOSE) is not None


def test_files_without_rows_go_and_rows_without_files_are_burnt(tmp_path):
    folder = tmp_path / "s"
    filled(folder, 3).close()
    (folder / "batches" / name(1).hex()).unlink()
    (folder / "batches" / name(9).hex()).write_bytes(b"half")
    store = ClientStore(folder)
    assert "1 prepared batches" in store.notices[0]
    assert files(folder) == {name(0).hex(), name(2).hex()}
    assert [store.claim_next(PURPOSE).batch_id for _ in range(2)] == [name(0), name(2)]


def test_a_file_that_another_process_writes_is_left_alone(tmp_path):
    store = ClientStore(tmp_path / "s")
    with store._new_file(name(5)):
        other = ClientStore(tmp_path / "s")
        assert files(tmp_path / "s") == {name(5).hex()}
        other.close()


def test_a_copied_folder_has_nothing_ready(tmp_path):
    filled(tmp_path / "s", 3).close()
    subprocess.run(["cp", "-a", tmp_path / "s", tmp_path / "copy"], check=True)
    store = ClientStore(tmp_path / "copy")
    assert "copied or restored: 3 prepared batches" in store.notices[0]
    assert store.claim_next(PURPOSE) is None
    assert not files(tmp_path / "copy")
    store.add(name(7), PURPOSE, TRANSCRIPT, plain(7))  # and can be used from here on
    store.close()
    again = ClientStore(tmp_path / "copy")
    assert not again.notices
    assert again.claim_next(PURPOSE).batch_id == name(7)
    assert ClientStore(tmp_path / "s").count(PURPOSE) == 3  # the original


@pytest.mark.parametrize("what", ["all", "database", "in place", "while open"])
def test_a_restored_backup_gives_nothing_twice(tmp_path, what):
    folder, backup = tmp_path / "s", tmp_path / "backup"
    store = filled(folder, 3)
    shutil.copytree(folder, backup)
    assert store.claim_next(PURPOSE).batch_id == name(0)
    if what == "while open":
        shutil.copy2(backup / "store.sqlite", folder / "store.sqlite")
        claimed = store.claim_next(PURPOSE)
        assert claimed is None or claimed.batch_id != name(0)
        return
    store.close()
    if what == "all":
        shutil.rmtree(folder)
        shutil.copytree(backup, folder)
    else:
        names = ["store.sqlite"] if what == "database" else ["store.sqlite", "burnt.log"]
        for one in names:
            shutil.copy2(backup / one, folder / one)
        shutil.copy2(backup / "batches" / name(0).hex(), folder / "batches")
    store = ClientStore(folder)
    found = []
    while (claimed := store.claim_next(PURPOSE)) is not None:
        found.append(claimed.batch_id)
    assert name(0) not in found
    assert not found, "whoever sets a part back may have set back more"


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("when", ["before the list", "in the list", "before the database"])
def test_a_crash_while_a_batch_is_burnt_costs_that_batch_alone(tmp_path, monkeypatch, when):
    store = filled(tmp_path / "s", 3)

    def append(self, known, batch_ids):
        if when == "in the list":
            with (tmp_path / "s" / "burnt.log").open("ab") as file:
                file.write(batch_ids[0][:5])
        elif when == "before the database":
            original(self, known, batch_ids)
        raise PowerCutError

    original = BurntList.append
    with monkeypatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr(BurntList, "append", append)
        patch.setattr(store, "_unburn", lambda row: None)  # nobody tidies up after a crash
        store.claim(name(1), "peer")
    store.close()
    store = ClientStore(tmp_path / "s")
    assert not store.notices
    assert [store.claim_next(PURPOSE).batch_id for _ in range(2)] == [name(0), name(2)]
    assert store.claim_next(PURPOSE) is None
    assert (tmp_path / "s" / "burnt.log").read_bytes() == name(1) + name(0) + name(2)


@pytest.mark.parametrize("burnt_by", ["opening", "held", "room"])
def test_what_is_burnt_without_being_used_is_listed_at_once(tmp_path, burnt_by):
    """A store at rest names nothing as being burnt: restored in place, it would be trusted for that."""
    folder, each = tmp_path / "s", sealed_bytes(plain())
    store = ServerStore(folder, 10 * each, 3 * each)
    for number in range(3):
        store.add(name(number), PURPOSE, TRANSCRIPT, plain(number))
    if burnt_by == "opening":
        store.close()
        (folder / "batches" / name(0).hex()).unlink()
        store = ServerStore(folder, 10 * each, 3 * each)
    elif burnt_by == "held":
        with store._database.transaction() as db:
            db.execute("UPDATE batches SET created = 0 WHERE id = ?", (name(0),))
        store.held("", "~")
    else:
        store.add(name(3), PURPOSE, TRANSCRIPT, plain(3))
    assert (folder / "burnt.log").read_bytes() == name(0)
    with store._database.reading() as db:
        assert store._burning(db) == []
    backup = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert store.claim(name(1), PURPOSE.peer) is not None
    store.close()
    for path, content in backup.items():
        path.write_bytes(content)  # in place: the same inodes
    again = ServerStore(folder, 10 * each, 3 * each)
    assert "copied or restored" in again.notices[0] and again.ready() == 0


def test_a_disk_that_is_full_for_the_list_costs_nothing(tmp_path, monkeypatch):
    """A write that fails may have moved the time of change all the same."""
    store = filled(tmp_path / "s", 2)

    def full(self, known, batch_ids):
        os.utime(tmp_path / "s" / "burnt.log")  # moves the time of change
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="full"):
        patch.setattr(BurntList, "append", full)
        store.claim_next(PURPOSE)
    assert [store.claim_next(PURPOSE).batch_id for _ in range(2)] == [name(0), name(1)]


def test_a_list_that_is_longer_than_intended_is_of_another_time(tmp_path):
    """A backup of which the list was read after the database: unlinked and copied back, it may get the old inode."""
    folder = tmp_path / "s"
    store = filled(folder, 3)
    database = (folder / "store.sqlite").read_bytes()
    assert store.claim_next(PURPOSE).batch_id == name(0)
    listed = (folder / "burnt.log").read_bytes()
    assert store.claim_next(PURPOSE).batch_id == name(1)
    store.close()
    os.truncate(folder / "burnt.log", len(listed))  # the same inode
    (folder / "store.sqlite").write_bytes(database)
    for one in (0, 1):
        (folder / "batches" / name(one).hex()).write_bytes(b"")
    store = ClientStore(folder)
    assert "copied or restored: 3 prepared batches" in store.notices[0]
    assert store.claim_next(PURPOSE) is None


@pytest.mark.parametrize("size", [0, 20, 3000])
def test_a_damaged_file_costs_its_batch_alone(tmp_path, size):
    store = filled(tmp_path / "s", 2)
    path = tmp_path / "s" / "batches" / name(0).hex()
    path.write_bytes(path.read_bytes()[:size])
    assert store.claim_next(PURPOSE).batch_id == name(1)
    assert "damaged" in store.notices[0]
    assert store.claim(name(0), "peer") is None


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_database_is_one_line(tmp_path, content):
    filled(tmp_path / "s", 1).close()
    (tmp_path / "s" / "store.sqlite").write_bytes(content)
    with pytest.raises(StoreError, match="damaged") as failure:
        ClientStore(tmp_path / "s").count(PURPOSE)
    assert "\n" not in str(failure.value)
    with pytest.raises(StoreError):
        store_summary(tmp_path / "s")


def test_folders_that_are_no_store(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    tmp_path.chmod(0o700)
    with pytest.raises(StoreError, match="something else"):
        ClientStore(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    ClientStore(tmp_path / "s").close()
    with pytest.raises(StoreError, match="store of a client"):
        ServerStore(tmp_path / "s", 10**9, 10**9)
    (tmp_path / "s").chmod(0o755)
    with pytest.raises(StoreError, match="others may read"):
        ClientStore(tmp_path / "s")
    with pytest.raises(StoreError, match="cannot be used"):
        ClientStore(tmp_path / "notes.txt")
    (tmp_path / "s").chmod(0o700)
    with sqlite3.connect(tmp_path / "s" / "store.sqlite") as db:
        db.execute("PRAGMA user_version = 7")
    with pytest.raises(StoreError, match="another version"):
        ClientStore(tmp_path / "s")


# --- a full disk -----------------------------------------------------------------------------------------------------


def check_full(folder, add):
    """``add`` fails for want of room: one line, nothing is left of it, the rest works."""
    with pytest.raises(StoreError, match="the disk is full") as failure:
        add()
    assert "\n" not in str(failure.value)


def test_a_file_that_grows_too_long(tmp_path):
    """The system's limit on the size of a file stands for a full disk."""
    store = filled(tmp_path / "s", 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        check_full(tmp_path / "s", lambda: store.add(name(5), PURPOSE, TRANSCRIPT, plain(0, 1 << 17)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert files(tmp_path / "s") == {name(0).hex(), name(1).hex()}
    assert [store.claim_next(PURPOSE).batch_id for _ in range(2)] == [name(0), name(1)]


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=False, capture_output=True
    ).returncode:
        pytest.skip("mounting needs root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=False)


def test_a_full_disk(small_disk):
    folder = small_disk / "s"
    store = filled(folder, 3)
    check_full(folder, lambda: store.add(name(9), PURPOSE, TRANSCRIPT, plain(0, 1 << 17)))
    assert files(folder) == {name(number).hex() for number in range(3)}
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    # Not a byte is left: a claim either works or fails before anything is begun.
    claimed = []
    for _ in range(2):
        try:
            claimed.append(store.claim_next(PURPOSE).batch_id)
        except StoreError as error:
            assert "disk is full" in str(error)
    filler.unlink()
    store.close()
    store = ClientStore(folder)
    while (found := store.claim_next(PURPOSE)) is not None:
        claimed.append(found.batch_id)
    assert len(claimed) == len(set(claimed))
    assert name(2) in claimed


@pytest.mark.parametrize("call", ["write", "fsync", "pwrite"])
def test_system_calls_that_fail(tmp_path, monkeypatch, call):
    store = filled(tmp_path / "s", 2)

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        if call == "pwrite":
            check_full(tmp_path / "s", lambda: store.claim_next(PURPOSE))
        else:
            check_full(tmp_path / "s", lambda: store.add(name(5), PURPOSE, TRANSCRIPT, plain(5)))
    assert files(tmp_path / "s") == {name(0).hex(), name(1).hex()}
    assert [store.claim_next(PURPOSE).batch_id for _ in range(2)] == [name(0), name(1)]


# --- limits, roles ---------------------------------------------------------------------------------------------------


def test_the_clients_limit(tmp_path):
    each = sealed_bytes(plain())
    store = filled(tmp_path / "s", 2, max_bytes=2 * each + 100)
    store.remember("host:1", "peer", "digest", b"plan")
    with pytest.raises(StoreFullError, match="are allowed"):
        store.add(name(5), PURPOSE, TRANSCRIPT, plain(5))
    assert store.bytes_used() == 2 * each
    store.remember("host:1", "another", "digest", None)  # the place has a new store: what it forgot gives way
    store.add(name(5), replace(PURPOSE, peer="another"), TRANSCRIPT, plain(5))
    assert store.count(PURPOSE) == 1


def test_contents_by_use(tmp_path):
    """What a store has ready, and how it is selected; as predicted from what was put into it."""
    each = sealed_bytes(plain())
    store = filled(tmp_path / "s", 2)
    current = Purpose("now", "ab" * 32, "delphi", 4)
    store.add(name(7), current, TRANSCRIPT, plain(7))
    store.remember("host:1", "now", "ab" * 32, None)
    assert store_contents(tmp_path / "none") == []
    gone, served = store_contents(tmp_path / "s")
    assert (gone.server, gone.plan, gone.batches, gone.bytes) == (None, "plan", 2, 2 * each)
    assert (served.server, served.plan, served.protocol, served.images) == ("host:1", "ab" * 32, "delphi", 4)
    assert gone.oldest < gone.newest < served.oldest == served.newest
    for selection, expected in (
        (Selection(unused=True), [gone]),
        (Selection(plans=("abab",)), [served]),
        (Selection(plans=("abab",), unused=True), []),
        (Selection(before=gone.newest), [gone]),
    ):
        assert store_contents(tmp_path / "s", selection) == expected
    assert store.prune(Selection(before=gone.oldest)) == (1, each)
    assert files(tmp_path / "s") == {name(1).hex(), name(7).hex()}
    assert (tmp_path / "s" / "burnt.log").read_bytes() == name(0)
    assert store.prune(Selection(plans=("abab", "1234"))) == (1, each)
    assert store.claim_next(current) is None
    assert store.claim_next(PURPOSE).batch_id == name(1)
    store.close()
    assert not ClientStore(tmp_path / "s").notices


@pytest.mark.parametrize("change", ["created = 'x'", "created = 1e300", "plan = x'ff'"])
def test_contents_that_are_damaged(tmp_path, change):
    filled(tmp_path / "s", 2).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "s" / "store.sqlite")) as db:
        db.execute(f"UPDATE batches SET {change}")
        db.commit()
    with pytest.raises(StoreError, match="is damaged"):
        store_contents(tmp_path / "s")


def test_a_batch_is_pruned_or_used(tmp_path):
    """Each once, whichever process is faster."""
    count = 40
    filled(tmp_path / "s", count).close()
    code = (
        "import sys; from deepreduce.inference.store import ClientStore, Purpose\n"
        "store = ClientStore(sys.argv[1]); used = 0; print(flush=True)\n"
        "while store.claim_next(Purpose('peer', 'plan', 'ot', 1)): used += 1\n"
        "print(used)"
    )
    user = subprocess.Popen([sys.executable, "-c", code, tmp_path / "s"], stdout=subprocess.PIPE, text=True)
    store = ClientStore(tmp_path / "s")
    user.stdout.readline()
    pruned = 0
    for entry in store_contents(tmp_path / "s"):
        for part in range(4):
            before = entry.oldest + (part + 1) * (entry.newest - entry.oldest) / 4
            pruned += store.prune(Selection(before=before))[0]
    used = int(user.communicate(timeout=60)[0])
    assert used + pruned == count
    burnt = (tmp_path / "s" / "burnt.log").read_bytes()
    assert {burnt[at : at + 16] for at in range(0, len(burnt), 16)} == {name(number) for number in range(count)}
    assert len(burnt) == 16 * count
    assert not store.ready()


def test_the_servers_limits(tmp_path, monkeypatch):
    each = sealed_bytes(plain())
    store = ServerStore(tmp_path / "s", 4 * each, 2 * each)
    for number in range(3):
        store.add(name(number), PURPOSE, TRANSCRIPT, plain(number))
    assert store.count(PURPOSE) == 2  # a client that prepares more loses its own oldest
    assert store.claim(name(0), "peer") is None
    other = replace(PURPOSE, peer="other")
    for number in (3, 4):
        store.add(name(number), other, TRANSCRIPT, plain(number))
    third = replace(PURPOSE, peer="third")
    with pytest.raises(StoreFullError):
        store.add(name(5), third, TRANSCRIPT, plain(5))
    assert (store.count(PURPOSE), store.count(other)) == (2, 2)
    monkeypatch.setattr("deepreduce.inference.store.server.STALE_S", -1.0)  # a week later
    store.add(name(5), third, TRANSCRIPT, plain(5))
    assert (store.count(PURPOSE), store.count(third)) == (1, 1)


def test_one_server_at_a_time(tmp_path):
    first = ServerStore(tmp_path / "s", 10**9, 10**9)
    code = "import sys; from deepreduce.inference.store import ServerStore; ServerStore(sys.argv[1], 10**9, 10**9)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "s"], capture_output=True, text=True, check=False)
    assert "another server uses the store" in done.stderr
    identity = first.identity("plan")
    first.close()
    second = ServerStore(tmp_path / "s", 10**9, 10**9)
    assert second.identity("plan") == identity != second.identity("another plan")


def test_a_server_store_that_cannot_be_opened_is_not_kept_from_others(tmp_path):
    ClientStore(tmp_path / "s").close()
    for _ in range(2):
        with pytest.raises(StoreError, match="is the store of a client"):
            ServerStore(tmp_path / "s", 10**9, 10**9)


def test_a_plan_that_was_damaged_is_asked_for_again(tmp_path):
    digest = hashlib.sha256(b"content").hexdigest()
    with contextlib.closing(ClientStore(tmp_path / "s")) as store:
        store.remember("host:1", "server", digest, b"contents")
        assert store.plan(digest) is None


def test_the_same_id_is_kept_once(tmp_path):
    store = filled(tmp_path / "s", 1)
    with pytest.raises(StoreError, match="there already"):
        store.add(name(0), PURPOSE, TRANSCRIPT, plain(1))
    assert same(store.claim_next(PURPOSE).plain, plain(0))
    with pytest.raises(StoreError):
        store.add(name(0), PURPOSE, TRANSCRIPT, plain(1))  # nor again after its use
    assert store.claim_next(PURPOSE) is None


def test_identity_and_plans_stay(tmp_path):
    store = ClientStore(tmp_path / "s")
    identity = store.identity("server")
    assert len(identity) == 32
    assert store.plan_at("host:1") is None
    digest = hashlib.sha256(b"content").hexdigest()
    store.remember("host:1", "server", digest, b"content")
    store.close()
    store = ClientStore(tmp_path / "s")
    assert store.identity("server") == identity != store.identity("other")
    assert store.plan_at("host:1") == digest
    assert store.plan(digest) == b"content"
    assert store_summary(tmp_path / "s") == {"ready": 0, "bytes": 0}
