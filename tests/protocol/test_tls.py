"""TLS 1.3 between the parties: who is trusted, and what a change on the wire does."""

import contextlib
import datetime
import os
import socket
import threading
import time

import numpy as np
import pytest
import trustme

from deepreduce.errors import SessionError, SettingError
from deepreduce.inference import Client, Server, ServerSettings, client_context, server_context
from deepreduce.inference.transport.streams import TlsStream
from deepreduce.plan import run
from sessions import PLAN, WEIGHTS, image, serving

X = image(PLAN, np.random.default_rng(5))


CA = trustme.CA()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An authority, a server's and a client's certificate, and another authority."""
    folder = tmp_path_factory.mktemp("tls")
    ours, foreign = CA, trustme.CA()
    ours.cert_pem.write_to_path(folder / "ours.pem")
    foreign.cert_pem.write_to_path(folder / "foreign.pem")
    for name, issued in (("server", ours.issue_cert("127.0.0.1")), ("client", ours.issue_cert("alice@example.org"))):
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


@pytest.fixture
def tls(files):
    return server_context(files / "server.pem", files / "server.key")


@pytest.mark.parametrize("protocol", ["ot", "delphi"])
def test_a_session_over_tls(files, tls, protocol):
    with (
        serving(PLAN, WEIGHTS, tls=tls) as (_, port),
        Client("127.0.0.1", port, tls=client_context(files / "ours.pem"), protocol=protocol) as party,
    ):
        party.prepare(2)
        exact = run(PLAN, WEIGHTS, X)["d"]
        for _ in range(2):
            error = np.abs(party.predict_integers(X) - exact).max()
            assert error == 0 if protocol == "delphi" else error < 2000


def failed(port, **settings):
    """The words of a handshake that fails, with the remedy."""
    with pytest.raises(SessionError) as caught:
        Client("127.0.0.1", port, timeout_s=2, **settings)
    return f"{caught.value.message}; {caught.value.hint}"


def test_a_foreign_server_is_not_trusted(files, tls):
    with serving(PLAN, WEIGHTS, tls=tls) as (_, port):
        for trust in (client_context(files / "foreign.pem"), client_context()):
            words = failed(port, tls=trust)
            assert f"TLS with 127.0.0.1:{port} failed: the server's certificate is of an unknown authority" in words
            assert "`tls_ca` FILE" in words
        words = failed(port, tls=client_context(files / "ours.pem"), server_name="elsewhere.example")
        assert "is not for elsewhere.example" in words and "`server_name` NAME" in words


def test_by_default_both_sides_speak_tls_with_the_development_authority(monkeypatch, tmp_path):
    """A server and a client that name no certificates; the token is not sent where the authority is unknown."""
    monkeypatch.setenv("DEEPREDUCE_CONFIG", str(tmp_path / "config"))
    with pytest.raises(SettingError, match="no development authority"):
        Client("127.0.0.1", 9, token="open sesame")
    with Server(PLAN, WEIGHTS, ServerSettings(token="open sesame")) as server:
        port = server.listen()
        server.start()
        for host in ("127.0.0.1", "localhost"):
            with Client(host, port, token="open sesame", mode="single", protocol="ot") as client:
                assert client.target.tls is not None
                assert np.array_equal(client.predict_integers(X), run(PLAN, WEIGHTS, X)["d"])
        with pytest.raises(SessionError):
            Client("127.0.0.1", port, token="open sesame", insecure=True, timeout_s=2)


def test_a_server_that_others_can_reach_needs_a_certificate():
    with Server(PLAN, WEIGHTS) as server, pytest.raises(SettingError, match=r"0\.0\.0\.0 can be reached by others"):
        server.listen("0.0.0.0")
    with Server(PLAN, WEIGHTS, ServerSettings(insecure=True)) as server:
        assert server.listen("0.0.0.0")


def test_tls_and_plain_tcp_are_not_asked_for_together(files, tls):
    with pytest.raises(SettingError, match="plain TCP and TLS"):
        ServerSettings(tls=tls, insecure=True)
    for settings in ({"tls": client_context(files / "ours.pem")}, {"server_name": "localhost"}):
        with pytest.raises(SettingError, match="plain TCP and TLS"):
            Client("127.0.0.1", 9, insecure=True, **settings)


def test_a_certificate_that_has_expired(files):
    issued = CA.issue_cert("127.0.0.1", not_after=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    issued.private_key_pem.write_to_path(files / "old.key")
    issued.cert_chain_pems[0].write_to_path(files / "old.pem")
    with serving(PLAN, WEIGHTS, tls=server_context(files / "old.pem", files / "old.key")) as (_, port):
        assert "has expired; renew it" in failed(port, tls=client_context(files / "ours.pem"))


def test_a_server_that_says_nothing(files):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = failed(listener.getsockname()[1], tls=client_context(files / "ours.pem"))
    assert "no answer in time" in words and "speaks TLS" in words


def test_clients_may_have_to_show_a_certificate(files):
    mutual = server_context(files / "server.pem", files / "server.key", files / "ours.pem")
    known = client_context(files / "ours.pem", files / "client.pem", files / "client.key")
    with serving(PLAN, WEIGHTS, tls=mutual) as (_, port):
        with Client("127.0.0.1", port, tls=known, mode="single") as party:
            assert party.predict_integers(X).shape == (1, 1, 6, 5)
        words = failed(port, tls=client_context(files / "ours.pem"))
        assert "denied access" in words and "`tls_cert`" in words


def test_plain_meets_tls(files, tls):
    with serving(PLAN, WEIGHTS, tls=tls, timeout_s=2) as (_, port):
        assert "speaks TLS" in failed(port, insecure=True)
    with serving(PLAN, WEIGHTS, timeout_s=2) as (_, port):
        words = failed(port, tls=client_context(files / "ours.pem"))
        assert "does not speak TLS" in words and "`insecure`" in words


def test_a_trickling_record_has_a_deadline(files, tls):
    """Its bytes come steadily, but nothing of a frame until the record is whole."""
    with (
        serving(PLAN, WEIGHTS, tls=tls, timeout_s=1) as (_, port),
        socket.create_connection(("127.0.0.1", port)) as sock,
        client_context(files / "ours.pem").wrap_socket(sock, server_hostname="127.0.0.1") as secured,
        socket.socket(fileno=os.dup(secured.fileno())) as raw,
    ):
        raw.sendall(b"\x17\x03\x03\x40\x00")  # application data, 16 KiB of it
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 8:
                raw.sendall(b" ")
                time.sleep(0.2)
        assert time.monotonic() - started < 5


def test_what_came_with_something_else_is_seen(files, tls):
    """Else a client would not notice that the server has dismissed it, and burn a batch for nothing."""
    listener, streams = socket.create_server(("127.0.0.1", 0)), {}

    def accept():
        with listener:
            streams["server"] = TlsStream(listener.accept()[0], tls, 5.0, server_name=None)

    accepting = threading.Thread(target=accept)
    accepting.start()
    sock = socket.create_connection(listener.getsockname())
    client = TlsStream(sock, client_context(files / "ours.pem"), 5.0, server_name="127.0.0.1")
    accepting.join()
    streams["server"].send(b"first")
    streams["server"].send(b"second")
    time.sleep(0.2)  # until both are there
    buffer = bytearray(5)
    assert client.receive_into(memoryview(buffer)) == 5
    assert client.readable()
    assert client.receive_into(memoryview(bytearray(6))) == 6
    assert not client.readable()
    client.close()
    streams["server"].close()


def test_files_that_do_not_fit(files, tmp_path):
    with pytest.raises(SettingError, match="cannot use"):
        server_context(files / "server.pem", files / "client.key")
    with pytest.raises(SettingError, match="cannot use"):
        client_context(tmp_path / "missing.pem")


class Flipper(threading.Thread):
    """A man in the middle who flips one bit, that many bytes into one direction."""

    def __init__(self, port, at, upward):
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port, self._target, self._at, self._upward = self._listener.getsockname()[1], port, at, upward

    def run(self):
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._target))
        for way in ((near, far, True), (far, near, False)):
            threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(self, source, sink, upward):
        seen = 0
        try:
            while data := bytearray(source.recv(65536)):
                if upward == self._upward and seen <= self._at < seen + len(data):
                    data[self._at - seen] ^= 4
                seen += len(data)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for sock in (source, sink):
                sock.close()


@pytest.mark.parametrize("upward", [True, False])
@pytest.mark.parametrize("at", [20, 1200, 60_000, 100_000])
def test_any_flipped_bit_ends_the_session(files, tls, upward, at):
    """In the handshake, the set-up, offline and online content: nothing of it is used."""
    with serving(PLAN, WEIGHTS, tls=tls, timeout_s=3) as (_, port):
        middle = Flipper(port, at, upward)
        middle.start()
        trusted = client_context(files / "ours.pem")
        with pytest.raises(SessionError), Client("127.0.0.1", middle.port, tls=trusted, timeout_s=3) as party:
            for _ in range(20):
                party.prepare(1)
                party.predict_integers(X)
