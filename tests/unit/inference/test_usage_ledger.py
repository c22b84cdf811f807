"""What identities have used: counted before it is used, through crashes, clocks and several processes."""

import multiprocessing
import os
import signal
import sqlite3

import pytest

from deepreduce.errors import SettingError, StoreError
from deepreduce.inference.access.quota import Quota, QuotaError, Quotas
from deepreduce.inference.access.quota_usage import quota_usage
from deepreduce.inference.access.usage_ledger import LEDGER_FILE, PROCESSES, Holding, UsageLedger

PER_HOUR = Quota(predictions=10, window_s=3600)


@pytest.fixture
def clock():
    return [1_000_000.0]


@pytest.fixture
def ledger(tmp_path, clock):
    found = UsageLedger(tmp_path / "state", lambda: clock[0])
    yield found
    found.close()


def test_a_window_slides(ledger, clock):
    for _ in range(5):
        ledger.predict("a", PER_HOUR, "c", 2)
        clock[0] += 60
    with pytest.raises(QuotaError, match="10 of 10 images in 3600 s") as refused:
        ledger.predict("a", PER_HOUR, "c", 1)
    assert refused.value.retry_s == 3600 - 300 + 1  # the first two leave then
    ledger.predict("b", PER_HOUR, "c", 10)  # another identity's
    with pytest.raises(QuotaError) as refused:
        ledger.predict("a", PER_HOUR, "c", 3)
    assert refused.value.retry_s == 3600 - 240 + 1  # two of them must leave
    clock[0] += refused.value.retry_s - 1
    with pytest.raises(QuotaError):
        ledger.predict("a", PER_HOUR, "c", 3)
    clock[0] += 1
    ledger.predict("a", PER_HOUR, "c", 3)
    with pytest.raises(QuotaError) as refused:
        ledger.predict("a", PER_HOUR, "c", 11)  # which no window ever holds
    assert refused.value.retry_s == 0


def test_what_was_refused_is_not_counted(ledger):
    quota = Quota(predictions=4, total=6)
    ledger.predict("a", quota, "c", 4)
    for _ in range(3):
        with pytest.raises(QuotaError):
            ledger.predict("a", quota, "c", 1)
    assert [(one.identity, one.predicted) for one in ledger.usage()] == [("a", 4)]


def test_what_does_not_begin_is_given_back(ledger):
    quota = Quota(predictions=4, total=4)
    booked = ledger.predict("a", quota, "c", 3)
    ledger.give_back(booked)
    ledger.predict("a", quota, "c", 4)
    with pytest.raises(QuotaError, match="4 of 4 images in all"):
        ledger.predict("a", quota, "c", 1)


def test_totals_count_all_computations_and_survive(tmp_path, clock):
    quota = Quota(total=5, prepared=7)
    first = UsageLedger(tmp_path)
    first.predict("a", quota, "one", 3)
    first.prepare("a", quota, "one", 5)
    first.close()
    second = UsageLedger(tmp_path)
    second.predict("a", quota, "two", 2)
    with pytest.raises(QuotaError, match="5 of 5 images in all"):
        second.predict("a", quota, "two", 1)
    with pytest.raises(QuotaError, match="5 of 7 images were prepared"):
        second.prepare("a", quota, "two", 3)
    with pytest.raises(QuotaError):
        second.check_prepared("a", quota, 3)
    second.prepare("a", quota, "two", 2)
    found = [(one.computation, one.prepared, one.predicted) for one in second.usage()]
    assert found == [("one", 5, 3), ("two", 2, 2)]
    second.close()


def test_a_clock_that_is_set_back_opens_nothing(ledger, clock):
    ledger.predict("a", PER_HOUR, "c", 10)
    clock[0] -= 500_000
    with pytest.raises(QuotaError) as refused:
        ledger.predict("a", PER_HOUR, "c", 1)
    assert refused.value.retry_s == 3601  # and does not shut for a week
    clock[0] += 3601
    ledger.predict("a", PER_HOUR, "c", 1)


def test_what_is_held_at_a_time(ledger):
    quota = Quota(connections=2, ready=3, ready_bytes=100)
    for sessions in (1, 2):
        ledger.enter("a", quota, Holding(sessions))
    with pytest.raises(QuotaError, match="2 of 2 connections"):
        ledger.enter("a", quota, Holding(3))
    ledger.reserve("a", quota, Holding(2, 3, 90))
    with pytest.raises(QuotaError, match="3 of 3 batches"):
        ledger.reserve("a", quota, Holding(2, 4, 95))
    with pytest.raises(QuotaError, match="101 of 100 bytes"):
        ledger.reserve("a", quota, Holding(2, 3, 101))


def child(folder, ready, stop):
    ledger = UsageLedger(folder)
    ledger.enter("a", Quota(connections=2), Holding(1, 2, 50))
    ready.set()
    stop.wait(60)
    ledger.close()


@pytest.mark.parametrize("end", ["killed", "closed"])
def test_other_processes_count_while_they_live(tmp_path, end):
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=child, args=(tmp_path, ready, stop))
    process.start()
    assert ready.wait(60)
    quota = Quota(connections=2, ready=3)
    ledger = UsageLedger(tmp_path)
    ledger.enter("a", quota, Holding(1))
    with pytest.raises(QuotaError, match="2 of 2 connections"):
        ledger.enter("a", quota, Holding(2))
    ledger.reserve("a", quota, Holding(1, 1))
    with pytest.raises(QuotaError, match="3 of 3 batches"):
        ledger.reserve("a", quota, Holding(1, 2))
    if end == "killed":
        os.kill(process.pid, signal.SIGKILL)
    else:
        stop.set()
    process.join(60)
    ledger.enter("a", quota, Holding(2, 3))
    assert len(list((tmp_path / PROCESSES).iterdir())) == 1
    ledger.close()
    assert not list((tmp_path / PROCESSES).iterdir())


def spender(folder, start, refused):
    ledger = UsageLedger(folder)
    start.wait(60)
    count = 0
    for _ in range(20):
        try:
            ledger.predict("a", Quota(predictions=50, total=50), "c", 1)
        except QuotaError:
            count += 1
    refused.put(count)
    ledger.close()


def test_processes_together_use_no_more_than_there_is(tmp_path):
    context = multiprocessing.get_context("spawn")
    start, refused = context.Event(), context.Queue()
    processes = [context.Process(target=spender, args=(tmp_path, start, refused)) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    assert sum(refused.get(timeout=60) for _ in processes) == 4 * 20 - 50
    for process in processes:
        process.join(60)
    ledger = UsageLedger(tmp_path)
    assert ledger.usage()[0].predicted == 50
    ledger.close()


def dies_after_counting(folder):
    UsageLedger(folder).predict("a", Quota(total=1), "c", 1)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_after_counting_counts(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=dies_after_counting, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    ledger = UsageLedger(tmp_path)
    with pytest.raises(QuotaError):
        ledger.predict("a", Quota(total=1), "c", 1)
    ledger.close()


def test_commits_are_synced(ledger):
    """FULL is what makes a commit in the write-ahead log survive a loss of power."""
    assert ledger._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    with ledger._transaction() as db:
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "file").touch()
    (tmp_path / "open").chmod(0o755)
    with pytest.raises(StoreError, match="others may read"):
        UsageLedger(tmp_path / "open")
    (tmp_path / "damaged").mkdir(mode=0o700)
    (tmp_path / "damaged" / LEDGER_FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match=r"quota\.sqlite cannot be used"):
        UsageLedger(tmp_path / "damaged")
    (tmp_path / "foreign").mkdir(mode=0o700)
    with sqlite3.connect(tmp_path / "foreign" / LEDGER_FILE) as db:
        db.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreError, match="another version, or is something else"):
        UsageLedger(tmp_path / "foreign")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be used"):
        UsageLedger(tmp_path / "file")


def test_without_a_folder_it_counts_in_memory():
    ledger = UsageLedger(None)
    ledger.predict("a", Quota(predictions=1), "c", 1)
    with pytest.raises(QuotaError):
        ledger.predict("a", Quota(predictions=1), "c", 1)
    assert not ledger.lasting
    ledger.close()


def test_quotas_are_checked():
    for wrong in ({"total": -1}, {"predictions": 1.5}, {"window_s": 0}, {"ready": True}):
        with pytest.raises(SettingError):
            Quota(**wrong)
    own = Quotas(Quota(total=5), {"b": Quota(connections=1)})
    assert (own.of("a").total, own.of("b").total) == (5, None)
    assert own.lasting and own.of("a").metered and not own.of("b").metered and own.of("b").holds
    with pytest.raises(SettingError):
        Quotas(5)


def test_the_leakage_bound_follows_the_ring(tmp_path):
    """SECURITY.md, Parameters: 2^-39.0 an image up to 32 bits, 2^-46.5 above; it grows with the square root."""
    ledger = UsageLedger(tmp_path)
    for computation, ring_bits in (("narrow", 32), ("wide", 33), ("unknown", None)):
        if ring_bits is not None:
            ledger.describe(computation, ring_bits, f"plan of {computation}", "weights")
        ledger.prepare("alice", Quota(), computation, 1 << 20)
    ledger.predict("bob", Quota(), "wide", 3)
    assert {one.computation: one.plan for one in ledger.usage()}["wide"] == "plan of wide"
    found = {(one.identity, one.computation): (one.ring_bits, one.leakage_log2) for one in ledger.usage()}
    assert found == {
        ("alice", "narrow"): (32, pytest.approx(-29.0)),
        ("alice", "wide"): (33, pytest.approx(-36.5)),
        ("alice", "unknown"): (None, pytest.approx(-29.0)),
        ("bob", "wide"): (33, None),
    }


def test_a_ledger_of_an_earlier_version_is_read(tmp_path):
    """It has no table of computations."""
    ledger = UsageLedger(tmp_path)
    ledger.prepare("alice", Quota(), "c", 2)
    ledger.close()
    with sqlite3.connect(tmp_path / LEDGER_FILE) as db:
        db.execute("DROP TABLE computations")
    db.close()
    (usage,) = UsageLedger(tmp_path).usage()
    assert (usage.prepared, usage.ring_bits) == (2, None)


def test_what_quotas_leave_and_when_more_is_free(ledger, clock, tmp_path):
    quotas = Quotas(Quota(total=100, prepared=50), {"alice": Quota(predictions=10, window_s=3600, ready=5)})
    ledger.note_quotas(quotas)
    ledger.predict("alice", quotas.of("alice"), "c", 4)
    clock[0] += 600
    ledger.predict("alice", quotas.of("alice"), "d", 3)  # of another plan: the quota is the identity's
    ledger.prepare("bob", quotas.of("bob"), "c", 7)
    ledger.reserve("alice", quotas.of("alice"), Holding(1, 2, 100))
    other = UsageLedger(tmp_path / "state", lambda: clock[0])
    try:
        assert other.quotas() == quotas
        found = {(one.identity, one.quota): one for one in quota_usage(other, lambda identity: (1, 50))}
    finally:
        other.close()
    assert {key: (one.limit, one.used, one.left) for key, one in found.items()} == {
        ("alice", "predictions"): (10, 7, 3),
        ("alice", "ready"): (5, 3, 2),  # two in the memory of a process, one in the store
        ("bob", "prepared"): (50, 7, 43),
        ("bob", "total"): (100, 0, 100),
    }
    window = found["alice", "predictions"]
    assert (window.window_s, window.next_s, window.reset_s) == (3600, 3001, 3601)
    clock[0] += window.next_s
    ledger.predict("alice", quotas.of("alice"), "c", 7)  # what was said to be free is
    with pytest.raises(QuotaError):
        ledger.predict("alice", quotas.of("alice"), "c", 1)
    ledger.note_quotas(Quotas(Quota(total=3)))  # lowered
    assert [
        (one.quota, one.left) for one in quota_usage(ledger, lambda identity: (0, 0)) if one.identity == "alice"
    ] == [("total", 0)]


def test_quotas_of_another_version(ledger):
    ledger._connection.execute("INSERT INTO quotas VALUES ('', '{\"images\": 3}')")
    with pytest.raises(StoreError, match="start the server, which notes them"):
        ledger.quotas()
