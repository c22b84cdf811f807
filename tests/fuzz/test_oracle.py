"""The oracle notices what it is there for: foreign errors, allocations beyond the bound, hidden or not, and hangs."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from deepreduce.errors import DataError, SessionError
from fuzz.edits import OPERATIONS, edit, edits, joined, parts, patch, patched
from fuzz.target import SANITIZED, ExcessError, Target, check, deadline
from fuzz.totals import Found, Totals

pytestmark = pytest.mark.core


def target(run, memory_mb=16):
    return Target("planted", run, memory_mb, 5, 100, lambda: [b""], None)


def hidden(data):
    try:
        np.empty(1 << 40, np.uint8)
    except MemoryError as error:
        raise DataError("the file cannot be read") from error


def raising(error):
    def run(data):
        raise error

    return target(run)


def test_errors():
    check(raising(SessionError("the peer sent nonsense", "connect again")), b"")
    for error in (ValueError("x"), RecursionError(), AssertionError("a promise")):
        with pytest.raises(type(error)):
            check(raising(error), b"")
    for text in ("two\nlines", "x" * 10_000):
        with pytest.raises(AssertionError, match="several lines"):
            check(raising(DataError(text)), b"")
    check(raising(ValueError("not read")), bytes(101))  # longer than what is declared


@pytest.mark.skipif(SANITIZED, reason="the sanitizers' own memory is terabytes of addresses")
@pytest.mark.parametrize(
    "run",
    [lambda _: np.empty(1 << 28, np.uint8), lambda _: bytearray(1 << 28), hidden],
    ids=["numpy", "python", "hidden"],
)
def test_memory(run):
    with pytest.raises(ExcessError):
        check(target(run), b"")
    check(target(lambda _: np.zeros(1 << 20, np.uint8)), b"")
    assert len(np.zeros(1 << 28, np.uint8)) == 1 << 28  # the bound ends with the input


def test_time():
    with pytest.raises(ExcessError), deadline(0.05):
        time.sleep(30)
    with deadline(30):
        pass


def test_edits():
    frame = bytes(range(20))
    written = {name: edits(edit(3, name, 5, b"\xff\xfe"))[0].applied(frame) for name in OPERATIONS}
    assert written["write"] == frame[:5] + b"\xff\xfe" + frame[7:]
    assert written["insert"] == frame[:5] + b"\xff\xfe" + frame[5:]
    assert written["delete"] == frame[:5] + frame[8:]
    assert written["cut"] == frame[:5]
    assert written["double"] == frame * 2
    assert written["replace"] == b"\xff\xfe"
    assert written["fill"] == frame[:5] + b"\xff" * 15
    assert [one.frame for one in edits(edit(2, "cut") + edit(7, "write", 70_000, b"x") + b"left")] == [2, 7]
    assert patched(frame, patch(18, b"abc") + patch(0, b"z")) == b"z" + frame[1:18] + b"ab"
    contents = [b"", os.urandom(300), b"rest"]
    assert parts(joined(*contents), 3) == contents


def test_a_run_without_coverage_is_noticed():
    totals = Totals()
    totals.add("seen", Found(executions=10, edges=3))
    totals.add("blind", Found(executions=10))
    totals.add("cut short", Found())
    assert totals.blind() == ["blind"]
