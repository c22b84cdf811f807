"""A server without room says so: nothing that is prepared is lost by it, and who waits is served."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from deepreduce.errors import SessionError
from deepreduce.inference import BackgroundPreparer, Client
from deepreduce.inference.client.retry import retry_while_busy
from deepreduce.inference.server.admission import AdmissionQueue
from deepreduce.inference.transport.channel import Channel
from deepreduce.inference.transport.errors import BusyError, PeerError
from deepreduce.inference.transport.frames import Kind, Reason
from deepreduce.plan import Relu, predict, run
from plan_samples import plan_of
from sessions import PLAN, TIMEOUT_S, WEIGHTS, X, image, serving

EXACT = run(PLAN, WEIGHTS, X)["d"]
PATIENCE_S = 60.0


def connect(port, **settings):
    return Client("127.0.0.1", port, protocol="delphi", insecure="tls" not in settings, **settings)


def test_memory_taken_by_others_costs_a_session_nothing_that_it_has():
    each = predict(PLAN, "delphi").total.stored_bytes_server
    with (
        serving(PLAN, WEIGHTS, max_prepared_bytes=3 * each) as (_, port),
        connect(port) as first,
        connect(port) as second,
    ):
        second.prepare(1)
        first.prepare(2)
        for _ in range(3):  # uploads of what was refused are passed over, however often
            with pytest.raises(BusyError) as busy:
                second.prepare(1)
            assert busy.value.reason == Reason.BUSY == 20
            assert "its memory for prepared material is taken" in str(busy.value)
        assert second.prepared == 1
        assert np.array_equal(second.predict_integers(X), EXACT)  # the session goes on, with what it has
        retry_while_busy(
            lambda: second.prepare(1), PATIENCE_S, lambda s: time.sleep(0.05)
        )  # and with the memory that this gave back
        assert np.array_equal(second.predict_integers(X), EXACT)
        assert first.prepared == 2
        assert np.array_equal(first.predict_integers(X), EXACT)


@contextmanager
def every_place_taken(server):
    with server.resources._slots.place(PATIENCE_S), server.resources._slots.place(PATIENCE_S):  # of max_sessions=2
        yield


def test_places_taken(monkeypatch):
    """With every place taken a preparation is refused, in the set-up or later; the same session prepares afterwards."""
    monkeypatch.setattr("deepreduce.inference.server.resources.QUEUE_S", 0.05)
    with serving(PLAN, WEIGHTS, max_sessions=2) as (server, port), connect(port) as client:
        with every_place_taken(server):
            with pytest.raises(BusyError, match="all its places for preparations are taken"):
                client.prepare(1)  # nothing but the set-up was asked for
            assert client.connected
        client.prepare(2)
        with every_place_taken(server):
            with pytest.raises(BusyError):
                client.prepare(1)
            assert np.array_equal(client.predict_integers(X), EXACT)
        client.prepare(1)
        assert client.prepared == 2
        assert np.array_equal(client.predict_integers(X), EXACT)


def test_without_a_linear_op_keys_that_have_moved_on_are_renewed(monkeypatch):
    monkeypatch.setattr("deepreduce.inference.server.resources.QUEUE_S", 0.05)
    plan = plan_of(Relu("r", ("input",), 0, 26, 2**20))
    x = image(plan, np.random.default_rng(0))
    with serving(plan, {}, max_sessions=2) as (server, port), Client("127.0.0.1", port, insecure=True) as client:
        client.prepare(1)
        with every_place_taken(server), pytest.raises(BusyError) as busy:
            client.prepare(1)
        assert busy.value.renew
        client.prepare(1)
        for _ in range(2):
            assert np.array_equal(client.predict_integers(x), np.maximum(x, 0))


def test_what_a_client_sends_after_a_refusal_has_an_end(monkeypatch):
    each = predict(PLAN, "delphi").total.stored_bytes_server
    with serving(PLAN, WEIGHTS, max_prepared_bytes=each, timeout_s=TIMEOUT_S) as (server, port):
        monkeypatch.setattr(server.resources.plans[""], "offline_bytes", lambda program: 5000)
        with connect(port) as first, connect(port) as second:
            first.prepare(1)
            with pytest.raises(PeerError, match="could not accept a message"):  # one upload is longer than that
                for _ in range(200):  # until one upload is on its way when the answer comes
                    with pytest.raises(BusyError):
                        second.prepare(1)
            assert np.array_equal(first.predict_integers(X), EXACT)


def test_a_server_may_not_be_told_that_a_client_is_busy(monkeypatch):
    with serving(PLAN, WEIGHTS) as (_, port), connect(port) as client:
        client._connection.channel.send(Kind.BUSY, b"\1\0\0" + bytes(13))
        with pytest.raises(SessionError, match="could not accept a message"):
            client.prepare(1)


def test_a_busy_server_in_the_middle_of_a_prediction_ends_it(monkeypatch):
    """No server of ours says so there. The batch is begun, so the session is over."""
    with serving(PLAN, WEIGHTS) as (_, port), connect(port) as client:
        client.prepare(2)
        send = Channel.send

        def lying(self, kind, *parts, **settings):
            if kind == Kind.LABELS:
                return self.refuse(BusyError(1), 0)
            return send(self, kind, *parts, **settings)

        monkeypatch.setattr(Channel, "send", lying)
        with pytest.raises(BusyError):
            client.predict_integers(X)
        assert not client.connected
        assert client.prepared == 0


def test_a_preparer_waits_and_tries_again(tmp_path, monkeypatch):
    monkeypatch.setattr("deepreduce.inference.client.background.retry_pause_s", lambda error: 0.05)
    with (
        serving(PLAN, WEIGHTS, store=tmp_path / "s", max_sessions=2) as (_, port),
        connect(port, store=tmp_path / "c") as client,
    ):
        other = connect(port)
        with BackgroundPreparer(client, keep=2) as preparer:
            with pytest.raises(SessionError, match="were not prepared within"):
                preparer.wait(1, 0.5)
            assert preparer.error is None
            other.close()
            preparer.wait(2, PATIENCE_S)
        assert client.prepared == 2


def test_patience():
    left, pauses = [3], []

    def work():
        left[0] -= 1
        if left[0]:
            raise BusyError(10)
        return "done"

    assert retry_while_busy(work, 60, pauses.append) == "done"
    assert len(pauses) == 2
    assert all(5 <= pause <= 15 for pause in pauses)
    left[0], pauses = 3, []
    with pytest.raises(BusyError, match="try again in 10 s"):
        retry_while_busy(work, 4, pauses.append)
    assert left == [2]


def test_places_are_given_in_turn():
    slots, order = AdmissionQueue(1, 1), []

    def take(number):
        with slots.place(PATIENCE_S):
            order.append(number)

    with slots.place(0.01):
        with pytest.raises(BusyError) as busy, slots.place(0.01):
            pass
        assert busy.value.retry_s == 1
        threads = []
        for number in range(5):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            while len(slots._waiting) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(5))
    assert slots._free == 1
