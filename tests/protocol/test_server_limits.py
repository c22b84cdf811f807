"""Rates, disks and sessions: what a server refuses, what it tells its operator about it, and that others go on."""

import logging
import socket
import time
from contextlib import ExitStack

import numpy as np
import pytest

from deepreduce.errors import SessionError, SettingError
from deepreduce.inference import Client, ServerSettings, client_context, server_context
from deepreduce.inference.access.development_ca import make_certificates
from deepreduce.inference.server.metrics import Metrics
from deepreduce.inference.server.server import GREETING
from deepreduce.inference.transport.errors import BusyError, PeerError
from deepreduce.inference.transport.limit import Limit, LimitKind
from deepreduce.plan import predict, run
from sessions import PLAN, TIMEOUT_S, WEIGHTS, X, serving

LIMIT = "a limit of its settings"


def connect(port, **settings):
    return Client("127.0.0.1", port, timeout_s=TIMEOUT_S, protocol="delphi", insecure="tls" not in settings, **settings)


def test_a_rate_for_sessions_and_preparations(caplog):
    caplog.set_level(logging.INFO)
    with serving(PLAN, WEIGHTS, rate=4) as (_, port):
        client = connect(port)
        client.prepare(3)
        with pytest.raises(PeerError, match=f"{LIMIT}.*of one address in a minute.*wait a minute") as refused:
            connect(port)
        assert refused.value.limit == Limit(LimitKind.RATE)  # strangers are not told the number
        assert np.array_equal(client.predict_integers(X), run(PLAN, WEIGHTS, X)["d"])  # what it has it may use
        with pytest.raises(PeerError, match=f"{LIMIT}.*of one address in a minute"):
            client.prepare(1)
    reasons = [record.fields.get("reason") for record in caplog.records if record.event == "refused"]
    assert reasons == ["rate", "limit"]


def test_too_many_sessions_are_told_so():
    with serving(PLAN, WEIGHTS, max_sessions=1) as (_, port), connect(port), pytest.raises(BusyError) as busy:
        connect(port)
    assert busy.value.retry_s >= 1
    assert "all its places for sessions are taken" in str(busy.value)


def test_a_client_that_prepares_more_than_it_may_loses_its_oldest(tmp_path):
    each = predict(PLAN, "delphi").total.stored_bytes_server
    with serving(PLAN, WEIGHTS, store=tmp_path / "server", max_client_bytes=3 * (each + 70_000)) as (server, port):
        with connect(port, store=tmp_path / "a") as client:
            most = client.most_prepared
            assert 1 < most < 10
            client.prepare(most)
            with pytest.raises(SettingError, match="an integer from 0 to 0"):
                client.prepare(1)
            assert client.prepared == most == server.resources.store.ready()
        with connect(port, store=tmp_path / "b") as client:
            client.prepare(1)
    with serving(PLAN, WEIGHTS, store=tmp_path / "server", max_stored_bytes=10) as (_, port):
        with pytest.raises(PeerError, match=f"{LIMIT}.*10 B for one preparation.*smaller batches"):
            connect(port, store=tmp_path / "c")
        connect(port).close()  # without a store it may
    with pytest.raises(SettingError):
        ServerSettings(rate=0, insecure=True)


def test_events_and_counters_of_a_session(tmp_path, caplog):
    """One event for each thing that happened, with its bytes, and nothing secret among them."""
    caplog.set_level(logging.INFO)
    counters = Metrics()
    with serving(PLAN, WEIGHTS, token="open sesame", store=tmp_path / "s", observers=[counters.observe]) as (
        server,
        port,
    ):
        counters.follow(server.resources)
        with pytest.raises(SessionError):
            connect(port, token="wrong")
        with connect(port, token="open sesame", store=tmp_path / "c") as client:
            client.prepare(2)
            client.predict_integers(X)
            identity, run_ = client.store.identity("127.0.0.1"), client.runs[-1]
        deadline = time.monotonic() + TIMEOUT_S
        while server._sockets and time.monotonic() < deadline:
            time.sleep(0.01)
        page = {sample.name: sample.value for one in counters._registry.collect() for sample in one.samples}
        assert page["deepreduce_preparations_ready"] == 1
        assert page["deepreduce_store_bytes"] == server.resources.store.bytes_used() > 0
        assert page["deepreduce_sessions"] == 0
    events = [(record.event, record.fields) for record in caplog.records if hasattr(record, "event")]
    assert [name for name, _ in events] == [
        "refused",
        "opened",
        "prepared",
        "prepared",
        "predicted",
        "closed",
        "stopped",
    ]
    predicted = dict(events)["predicted"]
    assert (predicted["up_bytes"], predicted["down_bytes"]) == (run_.online.sent_bytes, run_.online.received_bytes)
    text = caplog.text
    assert "sesame" not in text
    assert "wrong" not in text
    assert identity.hex() not in text


def test_a_client_that_leaves_while_it_is_greeted_was_never_open(monkeypatch, caplog):
    caplog.set_level(logging.INFO)

    def leaves(*_):
        raise SessionError("the client left")

    monkeypatch.setattr("deepreduce.inference.server.session.greet_client", leaves)
    counters = Metrics()
    with serving(PLAN, WEIGHTS, observers=[counters.observe]) as (_, port), pytest.raises(SessionError):
        connect(port)
    page = {sample.name: sample.value for one in counters._registry.collect() for sample in one.samples}
    assert page["deepreduce_sessions"] == 0


def test_an_observer_that_fails_ends_nothing(caplog):
    def fails(name, fields):
        raise ValueError("a fault of the operator's")

    with serving(PLAN, WEIGHTS, max_sessions=1, observers=[fails]) as (_, port), connect(port) as client:
        with pytest.raises(BusyError):
            connect(port)
        client.prepare(1)
        assert np.array_equal(client.predict_integers(X), run(PLAN, WEIGHTS, X)["d"])
    assert "an observer failed" in caplog.text


@pytest.mark.parametrize("secured", [False, True])
def test_connections_that_say_nothing_take_no_place(tmp_path, secured):
    """200 idle ones and 200 that send rubbish, beside predictions with two places; more idle ones close the oldest."""
    tls = trust = None
    if secured:
        make_certificates(tmp_path, ("localhost", "127.0.0.1"), ())
        tls = server_context(tmp_path / "server.pem", tmp_path / "server.key")
        trust = client_context(tmp_path / "authority.pem")
    with serving(PLAN, WEIGHTS, max_sessions=2, tls=tls) as (server, port), ExitStack() as stack:

        def knock(content=b""):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            sock.sendall(content)
            return sock

        idle = [knock() for _ in range(200)]
        for number in range(200):
            knock(bytes([number]) * (1 + number))
        for _ in range(2):
            with Client("127.0.0.1", port, protocol="ot", tls=trust, insecure=trust is None, timeout_s=20.0) as client:
                client.prepare(1)
                assert np.array_equal(client.predict_integers(X), run(PLAN, WEIGHTS, X)["d"])
        idle += [knock() for _ in range(GREETING)]
        idle[0].settimeout(10.0)
        assert idle[0].recv(1) == b""
        assert len(server._greeting) <= GREETING
        with Client("127.0.0.1", port, protocol="ot", tls=trust, insecure=trust is None, timeout_s=20.0) as client:
            assert client.connected
