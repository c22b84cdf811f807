"""Malformed sessions beside an honest one: its answers stay right, and they leave nothing behind at the server."""

import contextlib
import gc
import random
import resource
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from deepreduce.inference import Client
from deepreduce.inference.client import connection
from deepreduce.inference.transport.frames import HEADER, Kind
from deepreduce.inference.transport.streams import TcpStream
from deepreduce.plan import run
from sessions import PLAN, WEIGHTS, X, serving

pytestmark = pytest.mark.core

CORPORA = Path(__file__).parents[1] / "fuzz" / "corpora"
HOSTILE, AT_ONCE = 120, 4
PATIENCE_S = 60.0  # of every wait, on a busy machine
GROWTH_MB = 48  # of the process, both parties in it: allocators keep pages
HELLOS = [path.read_bytes()[:4096] for path in sorted((CORPORA / "client_hello").iterdir())]
STREAMS = [path.read_bytes() for path in sorted((CORPORA / "frames").iterdir())]


def recorded(monkeypatch, port):
    """The frames of an honest client's session, from its hello to its answers."""
    frames = []

    class Recording(TcpStream):
        def send(self, *parts):
            frames.append(b"".join(bytes(part) for part in parts))
            super().send(*parts)

    with monkeypatch.context() as patch:
        patch.setattr(connection, "TcpStream", Recording)
        with Client("127.0.0.1", port, protocol="delphi", timeout_s=PATIENCE_S, insecure=True) as client:
            client.prepare(1)
            client.predict_integers(X)
    return frames


def malformed(frames, rng):
    """What one hostile client sends: garbage, an input that a fuzzer kept, or a session damaged somewhere."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.choice((0, 1, 7, 8, 9, 100, 5000)))
    if kind == 1:
        return rng.choice(STREAMS)[4:]
    if kind == 2:
        hello = rng.choice(HELLOS)
        return HEADER.pack(Kind.HELLO, 0, 0, len(hello)) + hello
    sent, at = list(frames), rng.randrange(len(frames))
    if kind == 3:  # another order, or one of them twice or never
        sent[at:at] = [rng.choice(frames)] * rng.randrange(2)
        del sent[rng.randrange(len(sent))]
    elif kind == 4:  # cut off
        sent = [*sent[:at], sent[at][: rng.randrange(len(sent[at]) + 1)]]
    else:
        damaged = bytearray(sent[at])
        for _ in range(rng.randrange(1, 9)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        sent[at] = bytes(damaged)
    return b"".join(sent)


def hammer(port, content, rng):
    """Sends it and leaves: after the server has, or at once, or without a farewell."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as sock, contextlib.suppress(OSError):
        manner = rng.randrange(3)
        if manner == 2:  # reset
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sender = threading.Thread(target=_send, args=(sock, content))
        sender.start()
        if manner:
            sender.join()
        while manner == 0 and sock.recv(1 << 16):
            pass
        sender.join()


def _send(sock, content):
    with contextlib.suppress(OSError):
        sock.sendall(content)
        sock.shutdown(socket.SHUT_WR)


def settled(server, threads):
    """Waits until no session and no more than so many threads are left; descriptors, and MiB of memory."""
    limit = time.monotonic() + PATIENCE_S
    while (server._sockets or server._leaving) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not server._sockets
    while threading.active_count() > threads and time.monotonic() < limit:
        time.sleep(0.02)
    assert threading.active_count() <= threads
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(list(Path("/proc/self/fd").iterdir())), pages * resource.getpagesize() / 2**20


def test_a_malformed_session_never_disturbs_its_neighbors(monkeypatch):
    exact, failures = run(PLAN, WEIGHTS, X)["d"], []

    def observe(name, fields):
        if name == "failed":
            failures.append(fields)

    with serving(PLAN, WEIGHTS, timeout_s=PATIENCE_S, idle_s=PATIENCE_S, observers=[observe]) as (server, port):
        threads = threading.active_count()
        frames = recorded(monkeypatch, port)
        rng = random.Random(6)
        plans = [(malformed(frames, rng), random.Random(number)) for number in range(HOSTILE)]
        with ThreadPoolExecutor(AT_ONCE) as pool:  # what caches and allocators keep is kept from here on
            list(pool.map(lambda plan: hammer(port, *plan), plans[: HOSTILE // 4]))
        files, memory = settled(server, threads)

        done, answers = threading.Event(), []

        def honest():
            with Client("127.0.0.1", port, protocol="delphi", timeout_s=PATIENCE_S, insecure=True) as client:
                while not done.is_set() or len(answers) < 5:
                    client.prepare(1)
                    answers.append(client.predict_integers(X))

        with ThreadPoolExecutor(AT_ONCE + 1) as pool:
            neighbor = pool.submit(honest)
            hostile = [pool.submit(hammer, port, *plan) for plan in plans[HOSTILE // 4 :]]
            try:
                for one in hostile:
                    one.result(PATIENCE_S)
            finally:
                done.set()
            neighbor.result(PATIENCE_S)
        assert len(answers) >= 5
        assert all(np.array_equal(answer, exact) for answer in answers)
        assert not failures
        files_after, memory_after = settled(server, threads)  # the honest session's thread has ended by then, too
        assert server.resources.ready() == 0
        assert server.resources._memory._booked == 0
        assert files_after == files
        assert memory_after < memory + GROWTH_MB
