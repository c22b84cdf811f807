"""TLS 1.3 between the parties: who is trusted, and what a change on the wire does."""

import contextlib
import os
import socket
import threading
import time

import numpy as np
import pytest
import trustme

from deepreduce.errors import SessionError, SettingError
from deepreduce.inference import Client, client_context, server_context
from deepreduce.inference.transport.streams import TlsStream
from deepreduce.plan import run
from sessions import PLAN, WEIGHTS, image, serving

X = image(PLAN, np.random.default_rng(5))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An authority, a server's and a client's certificate, and another authority."""
    folder = tmp_path_factory.mktemp("tls")
    ours, foreign = trustme.CA(), trustme.CA()
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


def test_a_foreign_server_is_not_trusted(files, tls):
    with serving(PLAN, WEIGHTS, tls=tls) as (_, port):
        with pytest.raises(SessionError, match=r"TLS with 127\.0\.0\.1"):
            Client("127.0.0.1", port, tls=client_context(files / "foreign.pem"))
        with pytest.raises(SessionError, match=r"TLS with 127\.0\.0\.1"):
            Client("127.0.0.1", port, tls=client_context())
        with pytest.raises(SessionError, match=r"TLS with 127\.0\.0\.1"):
            Client("127.0.0.1", port, tls=client_context(files / "ours.pem"), server_name="elsewhere.example")


def test_clients_may_have_to_show_a_certificate(files):
    mutual = server_context(files / "server.pem", files / "server.key", files / "ours.pem")
    known = client_context(files / "ours.pem", files / "client.pem", files / "client.key")
    with serving(PLAN, WEIGHTS, tls=mutual) as (_, port):
        with Client("127.0.0.1", port, tls=known, mode="single") as party:
            assert party.predict_integers(X).shape == (1, 1, 6, 5)
        with pytest.raises(SessionError):
            Client("127.0.0.1", port, tls=client_context(files / "ours.pem"))


def test_plain_meets_tls(files, tls):
    with serving(PLAN, WEIGHTS, tls=tls, timeout_s=2) as (_, port), pytest.raises(SessionError):
        Client("127.0.0.1", port, timeout_s=2)
    with serving(PLAN, WEIGHTS, timeout_s=2) as (_, port), pytest.raises(SessionError):
        Client("127.0.0.1", port, tls=client_context(files / "ours.pem"), timeout_s=2)


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
