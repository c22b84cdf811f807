"""Preparing in processes of its own: the same answers and bytes, and a worker that dies costs one batch."""

import os
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from deepreduce.errors import PlanError, SessionError
from deepreduce.inference import Client, Server, ServerSettings
from deepreduce.inference.client.retry import retry_while_busy
from deepreduce.inference.server.workers.worker import NICE
from deepreduce.inference.transport.channel import Channel
from deepreduce.inference.transport.errors import BusyError
from deepreduce.inference.transport.frames import Kind
from deepreduce.plan import run
from sessions import PLAN, WEIGHTS, X, differences, serving, weights_of

EXACT = run(PLAN, WEIGHTS, X)["d"]
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def worked():
    with serving(PLAN, WEIGHTS, workers=2, timeout_s=PATIENCE_S) as (server, port):
        yield server, port


def connect(port, protocol="delphi", **settings):
    return Client("127.0.0.1", port, protocol=protocol, insecure=True, **settings)


def children(pid):
    return [int(n) for task in Path(f"/proc/{pid}/task").iterdir() for n in (task / "children").read_text().split()]


def nursery(server):
    return server.resources.plans[""]._workers._child._process.pid


def wait_until(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("protocol", ["ot", "delphi"])
def test_answers_and_bytes_are_the_same(worked, protocol):
    server, port = worked
    with connect(port, protocol) as client:
        client.prepare(3)
        (worker,) = children(nursery(server))
        assert os.getpriority(os.PRIO_PROCESS, worker) == os.getpriority(os.PRIO_PROCESS, 0) + NICE
        for _ in range(3):
            assert np.abs(client.predict_integers(X) - EXACT).max() <= (protocol == "ot") * 2 * np.abs(99 * 9 * 2)
            assert differences(client, protocol, 1) == []
        client.prepare(1)
    wait_until(lambda: not children(nursery(server)))  # it ends with its session


def test_material_of_a_store_is_prepared_by_workers_too(tmp_path):
    with serving(PLAN, WEIGHTS, workers=1, store=tmp_path / "server") as (_, port):
        with connect(port, store=tmp_path / "client") as client:
            client.prepare(2)
        with connect(port, store=tmp_path / "client") as client:
            assert client.prepared == 2
            assert np.array_equal(client.predict_integers(X), EXACT)


def test_keys_stay_in_the_worker(worked):
    """The process that speaks to clients has nothing of the extension and no homomorphic key."""
    server, port = worked
    with connect(port) as client:
        client.prepare(1)
        (session,) = server._sockets.values()
        assert set(vars(session._offline)) == {"_program", "_channel", "_threads", "_computing", "_link"}


def test_sessions_share_no_worker(worked):
    server, port = worked
    with connect(port) as first, connect(port, batch=2) as second:
        first.prepare(1)
        second.prepare(1)
        assert len(children(nursery(server))) == 2
        twice = np.concatenate([X, -X])
        assert np.array_equal(second.predict_integers(twice), run(PLAN, WEIGHTS, twice)["d"])
        assert np.array_equal(first.predict_integers(X), EXACT)


@contextmanager
def killed_before(monkeypatch, server, kind):
    """Workers are killed while they wait for the first frame of a kind."""
    receive = Channel.receive

    def receiving(self, now, *arguments, **settings):
        if now == kind and self._peer == "client":
            monkeypatch.setattr(Channel, "receive", receive)
            for pid in children(nursery(server)):
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not children(nursery(server)))
        return receive(self, now, *arguments, **settings)

    monkeypatch.setattr(Channel, "receive", receiving)
    yield
    monkeypatch.setattr(Channel, "receive", receive)


@pytest.mark.parametrize("kind", [Kind.UPLOAD, Kind.CHOICES])
def test_a_worker_that_dies_costs_one_batch(worked, monkeypatch, kind):
    server, port = worked
    with connect(port) as other, connect(port) as client:
        client.prepare(2)
        with killed_before(monkeypatch, server, kind), pytest.raises(BusyError) as busy:
            client.prepare(1)
        assert busy.value.renew
        assert client.prepared == 2
        assert np.array_equal(client.predict_integers(X), EXACT)
        client.prepare(1)  # with new keys and another worker
        for _ in range(2):
            assert np.array_equal(client.predict_integers(X), EXACT)
        other.prepare(1)
        assert np.array_equal(other.predict_integers(X), EXACT)


def test_a_worker_that_dies_while_nothing_is_asked(worked):
    server, port = worked
    with connect(port) as client:
        client.prepare(1)
        for pid in children(nursery(server)):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not children(nursery(server)))
        retry_while_busy(lambda: client.prepare(1), PATIENCE_S)
        assert client.prepared == 2
        assert np.array_equal(client.predict_integers(X), EXACT)


def test_a_worker_that_cannot_be_started_costs_nothing(worked, monkeypatch):
    """Not even a session that was promised another one."""
    server, port = worked
    with connect(port) as client:
        client.prepare(1)
        for pid in children(nursery(server)):
            os.kill(pid, signal.SIGKILL)
        with monkeypatch.context() as patch:
            patch.setattr(server.resources.plans[""]._workers, "worker", lambda protocol, batch: closed())
            for _ in range(2):
                with pytest.raises(BusyError):
                    client.prepare(1)
        client.prepare(1)
        for _ in range(2):
            assert np.array_equal(client.predict_integers(X), EXACT)


def closed():
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours


def test_a_nursery_that_dies_is_started_again(worked):
    server, port = worked
    with connect(port) as client:
        client.prepare(1)
        before = nursery(server)
        os.kill(before, signal.SIGKILL)
        server.resources.plans[""]._workers._child._process.wait()
        client.prepare(1)  # its worker goes on
        with connect(port) as another:
            another.prepare(1)
            assert np.array_equal(another.predict_integers(X), EXACT)
        assert nursery(server) != before
        assert np.array_equal(client.predict_integers(X), EXACT)


def test_a_client_that_leaves_in_the_middle_ends_its_worker(worked, monkeypatch):
    server, port = worked
    client = connect(port)
    client.prepare(1)
    (worker,) = children(nursery(server))
    client._connection.channel.send(Kind.PREPARE, bytes(16))
    client._connection.channel.close()
    wait_until(lambda: worker not in children(nursery(server)))


def test_damaged_ciphertexts_are_the_clients_fault(worked, monkeypatch):
    _, port = worked
    with connect(port) as client:
        client.prepare(1)
        send = Channel.send

        def damaging(self, kind, *parts, **settings):
            parts = [b"\xff" * len(part) for part in parts] if kind == Kind.UPLOAD else parts
            return send(self, kind, *parts, **settings)

        monkeypatch.setattr(Channel, "send", damaging)
        with pytest.raises(SessionError, match="could not accept a message"):
            client.prepare(1)


def test_what_ends_with_the_server():
    """Its nursery, and the workers of sessions that are open."""
    with serving(PLAN, WEIGHTS, workers=1) as (server, port):
        client = connect(port)
        client.prepare(1)
        pids = [nursery(server), *children(nursery(server))]
        assert len(pids) == 2
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_weights_that_do_not_fit_are_refused_as_without_workers():
    wide = {name: np.full_like(array, 32767) for name, array in weights_of(PLAN).items()}
    wide["c.weight"] = WEIGHTS["c.weight"]
    with pytest.raises(PlanError) as alone:
        Server(PLAN, wide)
    with pytest.raises(PlanError) as worked:
        Server(PLAN, wide, ServerSettings(workers=1, insecure=True))
    assert str(worked.value) == str(alone.value)
