"""What a session may ask for, and what is refused before anything is lost: limits, settings, images, who gets in."""

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from deepreduce.errors import PlanError, SessionError, SettingError
from deepreduce.inference import Client, ServerSettings
from deepreduce.inference.client import connection
from deepreduce.inference.protocol.key_setup import SETUP
from deepreduce.inference.server import server
from deepreduce.inference.server.resources import ServerResources
from deepreduce.inference.transport.errors import BusyError
from deepreduce.inference.transport.frames import HEADER, Kind, Reason
from deepreduce.inference.transport.handshake import ClientHello
from deepreduce.plan import digest, encode, predict, run
from sessions import PLAN, TIMEOUT_S, WEIGHTS, X, ask, serving

pytestmark = pytest.mark.core


def test_nothing_prepared(weighed):
    with Client("127.0.0.1", weighed[1], timeout_s=TIMEOUT_S, insecure=True) as party:
        with pytest.raises(SessionError, match="nothing is prepared"):
            party.predict_integers(X)
        party.prepare(1)
        assert party.predict_integers(X).shape == (1, 1, 6, 5)


def test_single_mode_prepares_by_itself(weighed):
    with Client("127.0.0.1", weighed[1], timeout_s=TIMEOUT_S, mode="single", protocol="delphi", insecure=True) as party:
        for _ in range(2):
            assert np.array_equal(party.predict_integers(X), run(PLAN, WEIGHTS, X)["d"])
        assert party.prepared == 0
        assert len(party.runs) == 2


def test_limits_of_the_server():
    with serving(PLAN, WEIGHTS, max_prepared=2) as (_, port):
        with Client("127.0.0.1", port, protocol="delphi", insecure=True) as party:
            party.prepare(2)
            with pytest.raises(SettingError, match="an integer from 0 to 0"):
                party.prepare(1)
            assert party.prepared == 2  # asking for too much loses nothing
            assert np.array_equal(party.predict_integers(X), run(PLAN, WEIGHTS, X)["d"])
        for _ in range(5):
            party = Client("127.0.0.1", port, insecure=True)
            party._most_prepared = 5  # a client that does not keep to it
            with pytest.raises(SessionError, match=r"a limit of its settings.*2 preparations of one session"):
                party.prepare(3)
    limit = pytest.raises(SessionError, match="a limit of its settings")
    with serving(PLAN, WEIGHTS, max_prepared_bytes=1000) as (_, port), limit:
        Client("127.0.0.1", port, insecure=True)
    each = predict(PLAN, "ot").total.stored_bytes_server
    with (
        serving(PLAN, WEIGHTS, max_prepared_bytes=2 * each) as (_, port),
        Client("127.0.0.1", port, protocol="ot", insecure=True) as first,
    ):
        first.prepare(2)
        second = Client("127.0.0.1", port, protocol="ot", insecure=True)
        with pytest.raises(BusyError) as busy:
            second.prepare(1)
        assert 1 <= busy.value.retry_s <= 60
        first.predict_integers(X)  # gives its memory back
        with Client("127.0.0.1", port, insecure=True) as third:
            third.prepare(1)


def test_one_session_too_many_is_turned_away():
    with serving(PLAN, WEIGHTS, max_sessions=1) as (_, port), Client("127.0.0.1", port, insecure=True) as first:
        with pytest.raises(SessionError):
            Client("127.0.0.1", port, insecure=True)
        first.prepare(1)
        first.predict_integers(X)


def test_several_clients_and_threads_at_once():
    """Eight sessions, and one session used from four threads: every answer is right, nothing is used twice."""
    exact = run(PLAN, WEIGHTS, X)["d"]
    with serving(PLAN, WEIGHTS) as (_, port), ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(port, X, protocol="delphi", prepare=3)[0], range(16)))
        with Client("127.0.0.1", port, protocol="delphi", mode="single", insecure=True) as party:
            answers += list(pool.map(lambda _: party.predict_integers(X), range(8)))
            assert len(party.runs) == 8
    assert all(np.array_equal(answer, exact) for answer in answers)


@pytest.mark.parametrize(
    "x", [X.astype(np.float64), X.tolist(), X[0], np.full_like(X, 2**40), np.zeros((1, 2, 6, 5), bool)], ids=str
)
def test_images_that_are_none(weighed, x):
    with Client("127.0.0.1", weighed[1], timeout_s=TIMEOUT_S, protocol="delphi", insecure=True) as party:
        party.prepare(1)
        with pytest.raises(SettingError):
            party.predict_integers(x)
        assert party.prepared == 1
        for kind in (np.int8, np.int32, np.int64):
            party.prepare(1)
            assert np.array_equal(party.predict_integers(X.astype(kind)), run(PLAN, WEIGHTS, X)["d"])
        with pytest.raises(SettingError):
            party.predict([[1.0], [1.0, 2.0]])
        with pytest.raises(PlanError, match="not finite"):
            party.predict(np.full(X.shape, np.nan))
        assert party.prepared == 1


def test_a_client_that_idles_is_told_why():
    with serving(PLAN, WEIGHTS, idle_s=0.3) as (_, port):
        party = Client("127.0.0.1", port, insecure=True)
        party.prepare(1)
        time.sleep(0.8)
        with pytest.raises(SessionError, match="silent for too long"):
            party.predict_integers(X)
        with pytest.raises(SessionError, match="the session is over"):
            party.prepare(1)


def test_a_trickling_frame_has_a_deadline(weighed):
    with socket.create_connection(("127.0.0.1", weighed[1])) as sock:
        sock.sendall(HEADER.pack(Kind.HELLO, 0, 0, 1000))
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 10 * TIMEOUT_S:
                sock.sendall(b" ")
                time.sleep(0.2)
        assert time.monotonic() - started < 3 * TIMEOUT_S


def test_a_trickling_header_has_a_deadline(weighed):
    with socket.create_connection(("127.0.0.1", weighed[1])) as sock:
        started = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in HEADER.pack(Kind.HELLO, 0, 0, 1000):
                sock.sendall(bytes([byte]))
                time.sleep(0.7 * TIMEOUT_S)
        assert time.monotonic() - started < 3 * TIMEOUT_S


def test_the_server_survives_failing_accepts(monkeypatch):
    """Out of descriptors for a while: logged, and then served again."""
    with serving(PLAN, WEIGHTS) as (party, port):
        failures = iter([OSError(24, "Too many open files")] * 3)
        listener = party._listener

        class Failing:
            def accept(self):
                for error in failures:
                    raise error
                return listener.accept()

            def __getattr__(self, name):
                return getattr(listener, name)

        ask(port, X)
        monkeypatch.setattr(party, "_listener", Failing())
        party.start()
        time.sleep(0.5)
        assert np.array_equal(ask(port, X, protocol="delphi")[0], run(PLAN, WEIGHTS, X)["d"])


def test_closing_ends_sessions_that_have_not_begun():
    with serving(PLAN, WEIGHTS) as (party, port):
        idle = socket.create_connection(("127.0.0.1", port))
        time.sleep(0.2)
        party.close()
        idle.settimeout(TIMEOUT_S)
        with contextlib.suppress(ConnectionError):
            assert idle.recv(1) == b""
        idle.close()


def test_a_client_that_reads_nothing_does_not_hold_up_the_end():
    """The server waits for it as long as for any other, not until its own sending fails."""
    hello = b'{"version": 7, "protocol": "ot", "batch": 1, "token": null, ' + REST
    with serving(PLAN, WEIGHTS, timeout_s=20) as (party, port), socket.create_connection(("127.0.0.1", port)) as sock:
        party.resources.plans[""].content = bytes(1 << 26)  # more than any socket buffers
        sock.sendall(HEADER.pack(Kind.HELLO, 0, 0, len(hello)) + hello)
        assert sock.recv(1)
        time.sleep(0.3)
        started = time.monotonic()
        party.shutdown(1.0)
        assert time.monotonic() - started < 1.0 + 2.0 + 1.0


def test_set_up_costs_what_was_predicted(weighed):
    """A connection pays for keys when it first prepares, not before."""
    with Client("127.0.0.1", weighed[1], protocol="ot", insecure=True) as party:
        assert SETUP not in party.setup.ops
        assert party.setup.rounds == 1
        setup = predict(PLAN).setup.offline
        for _ in range(2):
            party.prepare(1)
            found = party.setup.ops[SETUP]
            assert (found.sent_bytes, found.received_bytes) == (setup.up_bytes, setup.down_bytes)
            assert party.setup.rounds == 1 + setup.rounds
        assert party.setup.received_bytes > setup.down_bytes + len(encode(PLAN))


@pytest.mark.parametrize(
    "settings",
    [{"protocol": "foo"}, {"batch": 0}, {"batch": 5000}, {"batch": 1.5}, {"threads": 0}, {"threads": 300},
     {"mode": "x"}, {"timeout_s": 0}, {"timeout_s": -1}, {"timeout_s": float("nan")}, {"token": ""}, {"token": b"x"},
     {"token": "x" * 2000}, {"pin": ""}, {"pin": "0" * 63}, {"pin": "g" * 64}, {"pin": 5}],
    ids=str,
)  # fmt: skip
def test_settings_are_checked(weighed, settings):
    with pytest.raises(SettingError):
        Client("127.0.0.1", weighed[1], insecure=True, **settings)
    known = {k: v for k, v in settings.items() if k in ("threads", "timeout_s", "token")}
    if known:
        with pytest.raises(SettingError):
            ServerSettings(**known)


def test_a_server_must_listen_first():
    with server.Server(PLAN, WEIGHTS) as party, pytest.raises(SettingError, match="call listen"):
        party.start()


def test_who_gets_in(monkeypatch, weighed):
    _, port = weighed
    with Client("127.0.0.1", port, pin=digest(PLAN).upper(), insecure=True) as party:
        assert party.plan == PLAN
    with pytest.raises(SessionError, match="pinned is 000000000000"):
        Client("127.0.0.1", port, pin="0" * 64, insecure=True)
    with monkeypatch.context() as patch:
        patch.setattr(connection, "VERSION", connection.VERSION + 1)
        with pytest.raises(SessionError, match="another version"):
            Client("127.0.0.1", port, insecure=True)
    with serving(PLAN, WEIGHTS, token="open sesame") as (_, port):
        for token in (None, "open sesam", "öpen"):
            with pytest.raises(SessionError, match="access denied"):
                Client("127.0.0.1", port, token=token, insecure=True)
        with Client("127.0.0.1", port, token="open sesame", insecure=True) as party:
            party.prepare(1)


REST = b'"known": null, "identity": "' + b"0" * 64 + b'", "keeps": false, "plan": ""}'


@pytest.mark.parametrize(
    "hello",
    [b"", b"{", b"[]", b'{"version": 1}', b"[" * 4000, b"x" * 5000,
     b'{"version": "2", "protocol": "ot", "batch": 1, "token": null, ' + REST,
     b'{"version": 7, "protocol": "ot", "batch": 100000, "token": null, ' + REST,
     b'{"version": 7, "protocol": "ot", "batch": true, "token": null, ' + REST,
     b'{"version": 7, "protocol": "ot", "batch": 1, "token": null, ' + REST.replace(b"0", b"g")],
)  # fmt: skip
def test_damaged_hellos(weighed, hello):
    """Not even the version is told to whom cannot greet; the server goes on."""
    with socket.create_connection(("127.0.0.1", weighed[1]), TIMEOUT_S) as sock:
        sock.sendall(HEADER.pack(Kind.HELLO, 0, 0, len(hello)) + hello)
        sock.settimeout(2 * TIMEOUT_S)
        try:
            answer = sock.recv(100)
        except ConnectionResetError:
            answer = b""
    assert answer == b"" or answer[0] == Kind.ERROR
    y, _ = ask(weighed[1], X, protocol="delphi")
    assert np.array_equal(y, run(PLAN, WEIGHTS, X)["d"])


def test_a_token_that_is_no_text_is_a_wrong_token(caplog):
    hello = b'{"version": 7, "protocol": "ot", "batch": 1, "token": "\\ud800", ' + REST
    with (
        serving(PLAN, WEIGHTS, token="open sesame") as (_, port),
        socket.create_connection(("127.0.0.1", port)) as sock,
    ):
        sock.sendall(HEADER.pack(Kind.HELLO, 0, 0, len(hello)) + hello)
        sock.settimeout(2 * TIMEOUT_S)
        assert sock.recv(100)[-1] == Reason.REFUSED
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("field", ["plan_digest", "identity"])
@pytest.mark.parametrize("value", ["\x1b[2Jx", "\ud800", "", "A" * 64])
def test_names_from_a_server_are_hexadecimal(monkeypatch, weighed, field, value):
    """They are shown, and kept in the store."""
    terms = ServerResources.terms

    def lying(self, hello, identity, served):
        found = terms(self, hello, identity, served)
        return replace(found, answer=replace(found.answer, **{field: value}))

    monkeypatch.setattr(ServerResources, "terms", lying)
    with pytest.raises(SessionError, match="wrong digest or identity"):
        Client("127.0.0.1", weighed[1], timeout_s=TIMEOUT_S, insecure=True)


def test_secrets_are_not_shown(weighed):
    with Client("127.0.0.1", weighed[1], token="open sesame", insecure=True) as party:
        assert "sesame" not in repr(party.target)
    hello = ClientHello(2, "ot", 1, "open sesame", None, "12" * 32, False, "")
    assert "sesame" not in repr(hello)
    assert "1212" not in repr(hello)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(SessionError, match="is the server running there"):
        Client("127.0.0.1", port, insecure=True)
