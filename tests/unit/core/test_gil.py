"""Kernels release Python's lock: another thread runs while a long vector is computed."""

import sys
import threading

import numpy as np
import pytest

from deepreduce import _core

pytestmark = pytest.mark.core
COUNT = 1 << 23
TRIES = 20


def words(bits=64):
    return np.arange(COUNT, dtype=np.uint64) & np.uint64(2**bits - 1)


def packed():
    return np.zeros(COUNT // 8, np.uint8)


KERNELS = {
    "shift_shares": (lambda a: _core.shift_shares(a, 64, 8, 32), lambda: (words(),)),
    "elements_mask": (
        lambda a, d, p: _core.elements_mask(64, 8, 32, a, d, d, d, d, d, a, a, p),
        lambda: (words(), packed(), np.zeros(8 * COUNT, np.uint64)),
    ),
    "elements_open": (
        lambda a, d, p: _core.elements_open(64, 8, 32, a, d, d, np.tile(d, 3), a, a, a, p),
        lambda: (words(), packed(), np.zeros(8 * COUNT, np.uint64)),
    ),
    "table_open": (
        lambda a, c: _core.table_open(_core.Digits([5], [1]), a, c),
        lambda: (words(), np.tile(packed(), 5)),
    ),
    "pack": (lambda a: _core.pack(a, 31), lambda: (words(31),)),
    "bit_slice": (lambda a: _core.bit_slice(a, 32), lambda: (words(32),)),
}


@pytest.fixture(autouse=True)
def no_switches():
    """The interpreter takes the lock from no thread: it changes hands only where a call gives it away."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    yield
    sys.setswitchinterval(usual)


def runs_meanwhile(call):
    """Whether this thread ran before ``call()``, made in another one, had returned."""
    begun, done = threading.Event(), []

    def work():
        begun.set()
        call()
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    meanwhile = not done
    thread.join()
    return meanwhile


@pytest.mark.parametrize("name", KERNELS)
def test_another_thread_runs_meanwhile(name):
    kernel, make = KERNELS[name]
    arguments = make()
    # One success is proof; that a busy machine gives this thread no time in the middle of a call is none.
    assert any(runs_meanwhile(lambda: kernel(*arguments)) for _ in range(TRIES))


def test_the_check_sees_a_call_that_keeps_the_lock():
    """Joining a long text is one."""
    parts = ["x"] * (1 << 23)
    assert not any(runs_meanwhile(lambda: "".join(parts)) for _ in range(TRIES))


def test_the_receiver_has_the_senders_bound():
    keys = np.zeros((256, 16), np.uint8).reshape(-1)
    receiver = _core.OtReceiver(4, keys)
    with pytest.raises(ValueError, match=r"up to 2\^32"):
        receiver.extend(np.zeros((1 << 29) + 16, np.uint8), np.zeros(16, np.uint8))
