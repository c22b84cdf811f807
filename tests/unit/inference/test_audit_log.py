"""The audit log: every line holds the one before, through rotation, crashes, full disks and other people's hands."""

import errno
import json
import multiprocessing
import os
import time

import pytest

from deepreduce.errors import SettingError, StoreError
from deepreduce.inference.access import audit_log
from deepreduce.inference.access.audit_log import FIRST_DIGEST, AuditLog
from deepreduce.inference.access.audit_verify import BrokenChainError, verify_audit_log


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.log"


def written(path, *events):
    log = AuditLog(path)
    for event in events:
        log.write(event, identity="alice", images=1, why=None)
    log.close()
    return log.head


def events(path):
    return [json.loads(line)["event"] for line in path.read_bytes().splitlines() if audit_log.parsed(line)]


def test_a_chain_over_restarts(path):
    head = written(path, "started", "prediction")
    assert written(path, "started", "stopped") != head
    found = verify_audit_log([path], head)
    assert (found.lines, found.first, found.torn, found.passed_over, found.stopped) == (4, FIRST_DIGEST, 0, 0, True)
    line = json.loads(path.read_text().splitlines()[1])
    assert list(line) == ["time", "event", "identity", "images", "prev"]
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(BrokenChainError, match="no line has the hash 0000"):
        verify_audit_log([path], "0" * 64)


@pytest.mark.parametrize("change", ["edited", "cut out", "swapped", "doubled", "put in"])
def test_what_was_changed_is_found(path, change):
    written(path, *(f"e{number}" for number in range(5)))
    lines = path.read_bytes().splitlines(keepends=True)
    match change:
        case "edited":
            lines[2] = lines[2].replace(b"alice", b"alicf")
        case "cut out":
            del lines[2]
        case "swapped":
            lines[1], lines[2] = lines[2], lines[1]
        case "doubled":
            lines.insert(2, lines[1])
        case "put in":
            lines.insert(2, audit_log.entry(0, "e", {}, "1" * 64) + b"\n")
    path.write_bytes(b"".join(lines))
    with pytest.raises(BrokenChainError, match=r"line [2-4] of .* does not follow"):
        verify_audit_log([path])


def test_a_line_that_became_none_is_found(path):
    written(path, "a", "b", "c")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"rubbish\n" + lines[2])
    with pytest.raises(BrokenChainError):
        verify_audit_log([path])
    path.write_bytes(lines[0] + b"rubbish\n" + lines[1] + lines[2])
    with pytest.raises(BrokenChainError, match="is something that is not a line"):
        verify_audit_log([path])


def test_only_a_kept_head_shows_that_the_end_is_missing(path):
    head = written(path, "a", "b", "c")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert not verify_audit_log([path]).stopped
    with pytest.raises(BrokenChainError, match="the end was cut off"):
        verify_audit_log([path], head)


def test_every_torn_end_is_noticed_and_told(path):
    """A crash may leave any part of the last line; the log goes on from the last whole one and says so."""
    written(path, "a", "b")
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for cut in [*range(second + 1, len(whole), 7), len(whole) - 2, len(whole) - 1]:
        path.write_bytes(whole[:cut])
        torn = verify_audit_log([path])
        assert (torn.lines, torn.torn) == (1, cut - second)
        written(path, "c")
        found = verify_audit_log([path])
        complete = cut == len(whole) - 1  # but for its end
        assert (found.passed_over, found.torn) == (not complete, 0)
        assert events(path) == (["a", "b", "c"] if complete else ["a", "recovered", "c"])


@pytest.mark.parametrize("rest", [b"\0" * 5000, b"{\n{\n", b"\n", b"\n\n\n", b"x" * 100_000, b"{}\n", b'{"a": 1}'])
def test_rubbish_at_the_end(path, rest):
    written(path, "a")
    with path.open("ab") as file:
        file.write(rest)
    written(path, "b")
    written(path, "c")
    assert events(path) == ["a", "recovered", "b", "c"]
    assert verify_audit_log([path]).passed_over == 1


def test_a_crash_while_it_recovers(path):
    """Twice torn: both pieces together are what is passed over."""
    written(path, "a")
    with path.open("ab") as file:
        file.write(b'{"time": "2026')
    written(path, "b")
    whole = path.read_bytes()
    start = whole.index(b"\n", whole.index(b"\n") + 1) + 1  # of the line that told of it
    path.write_bytes(whole[: start + 20])
    written(path, "c")
    assert events(path) == ["a", "recovered", "c"]
    assert verify_audit_log([path]).passed_over == 1


def test_rotation(tmp_path, path):
    log = AuditLog(path)
    log.write("a")
    path.rename(tmp_path / "audit.log.1")
    log.write("b")
    log.write("c")
    log.close()
    assert events(path) == ["continued", "b", "c"]
    old, both = (
        verify_audit_log([tmp_path / "audit.log.1"]),
        verify_audit_log([tmp_path / "audit.log.1", path], log.head),
    )
    assert (old.lines, both.lines, both.first) == (1, 4, FIRST_DIGEST)
    assert verify_audit_log([path]).first == old.head
    with pytest.raises(BrokenChainError):
        verify_audit_log([path, tmp_path / "audit.log.1"])


def test_rotation_while_nobody_writes(tmp_path, path):
    head = written(path, "a", "stopped")
    path.rename(tmp_path / "audit.log.1")
    written(path, "b")
    assert events(path) == ["continued", "b"]
    assert verify_audit_log([tmp_path / "audit.log.1", path], head).lines == 4


def test_two_rotations_before_a_process_writes_again(tmp_path, path):
    """It goes on from where the others are, not from where it was."""
    quiet, busy = AuditLog(path), AuditLog(path)
    quiet.write("a")
    for number in range(2):
        path.rename(tmp_path / f"audit.log.{number}")
        if number == 0:
            busy.write("b")
    quiet.write("c")
    busy.write("d")
    assert verify_audit_log([tmp_path / "audit.log.0", tmp_path / "audit.log.1", path], busy.head).lines == 6
    quiet.close()
    busy.close()


def test_what_others_do_to_an_open_log(path):
    log = AuditLog(path)
    log.write("a")
    log.write("b")
    with path.open("ab") as file:
        file.write(b"from somebody else\n")
    log.write("c")
    assert verify_audit_log([path]).passed_over == 1
    os.truncate(path, path.read_bytes().index(b"\n") + 1)
    log.write("d")
    assert events(path) == ["a", "truncated", "d"]
    with pytest.raises(BrokenChainError, match="line 2"):
        verify_audit_log([path])
    log.close()


def test_a_line_that_does_not_follow_is_found_though_the_log_goes_on(path):
    log = AuditLog(path)
    log.write("a")
    with path.open("ab") as file:
        file.write(audit_log.entry(0, "prediction", {}, "1" * 64) + b"\n")
    log.write("b")
    log.close()
    with pytest.raises(BrokenChainError, match="line 2"):
        verify_audit_log([path])


def writer(path, name, start):
    log = AuditLog(path)
    start.wait(60)
    for number in range(100):
        log.write("e", by=name, number=number)
    log.close()


def test_processes_share_a_log_through_its_rotation(tmp_path, path):
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    processes = [context.Process(target=writer, args=(path, name, start)) for name in range(3)]
    for process in processes:
        process.start()
    start.set()
    rotated = []
    while any(process.is_alive() for process in processes):
        if len(rotated) < 3 and path.is_file() and path.stat().st_size > 5000:
            rotated.append(tmp_path / f"audit.log.{len(rotated)}")
            path.rename(rotated[-1])
        time.sleep(0.001)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    found = verify_audit_log([*rotated, path])
    assert len(rotated) == 3
    assert (found.lines, found.passed_over) == (300 + 3, 0)


def test_a_disk_that_is_full(path, monkeypatch):
    log = AuditLog(path)
    log.write("a")
    write = os.write
    monkeypatch.setattr(audit_log.os, "write", lambda file, data: write(file, data[:10]))
    with pytest.raises(StoreError, match="the disk is full"):
        log.write("b")

    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(audit_log.os, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        log.write("b")
    monkeypatch.setattr(audit_log.os, "write", write)
    log.write("c")
    log.close()
    assert events(path) == ["a", "c"]
    assert verify_audit_log([path]).passed_over == 0


def test_files_that_cannot_be_used(tmp_path, path):
    log = AuditLog(path)
    log.close()
    with pytest.raises(StoreError, match="cannot be written"):
        log.write("after the end")
    path.chmod(0o622)
    with pytest.raises(StoreError, match="others may write"):
        AuditLog(path)
    (tmp_path / "text").write_text("a diary\n")
    (tmp_path / "text").chmod(0o600)
    with pytest.raises(StoreError, match="is not an audit log"):
        AuditLog(tmp_path / "text")
    assert (tmp_path / "text").read_text() == "a diary\n"
    with pytest.raises(BrokenChainError, match="there is no line"):
        verify_audit_log([tmp_path / "text"])
    with pytest.raises(SettingError, match="cannot be read"):
        verify_audit_log([tmp_path / "missing"])


def test_a_file_that_is_longer_than_what_is_looked_at(path, monkeypatch):
    monkeypatch.setattr(audit_log, "TAIL", 1000)
    written(path, *("e" * 20 for _ in range(50)))
    written(path, "stopped")
    assert verify_audit_log([path]).lines == 51
