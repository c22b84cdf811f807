"""The supervisor of several server processes while they start."""

import sys
import threading
import time

import pytest

from deepreduce.errors import SessionError
from deepreduce.inference.server import supervisor
from deepreduce.inference.server.supervisor import Supervisor

HANGS = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


@pytest.fixture
def hung(monkeypatch):
    """Two processes that never say that they serve, and ignore SIGTERM and the end of their input."""
    monkeypatch.setattr(supervisor, "END_S", 0.2)
    found = Supervisor([], 2, 0, None, None)
    found._command = [sys.executable, "-c", HANGS]
    yield found
    found.end(0.0)
    assert all(one.process.poll() is not None for one in found._processes)


def test_a_stop_during_start_up_ends_processes_that_hang(hung):
    hung.start()
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    assert hung.ready(stop) is None


def test_start_up_has_a_time_limit(hung):
    hung.start()
    with pytest.raises(SessionError, match="was not ready within"):
        hung.ready(threading.Event(), 0.3)


def test_what_was_started_is_ended_when_a_later_one_cannot_be(hung, monkeypatch):
    start = supervisor._Process._start
    begun = []

    def failing(self):
        if begun:
            raise OSError("out of processes")
        begun.append(self)
        return start(self)

    monkeypatch.setattr(supervisor._Process, "_start", failing)
    with pytest.raises(OSError, match="out of processes"):
        hung.start()
    (first,) = hung._processes
    began = time.monotonic()
    hung.end(0.0)
    assert first.process.poll() is not None and time.monotonic() - began < 60
