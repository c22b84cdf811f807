"""Who gets in, as whom, how much they may do, what is written down of it, and what those see who do not get in."""

import contextlib
import json
import random
import socket
import ssl
import time

import numpy as np
import pytest

from deepreduce.errors import SessionError, SettingError
from deepreduce.inference import Client, Quota, Quotas, Server, ServerSettings, client_context, server_context
from deepreduce.inference.access.audit_verify import verify_audit_log
from deepreduce.inference.access.development_ca import make_certificates
from deepreduce.inference.access.tokens import add_token, remove_token
from deepreduce.inference.server import session
from deepreduce.inference.transport.errors import PeerError
from deepreduce.inference.transport.frames import HEADER, Kind, Reason
from deepreduce.inference.transport.handshake import HELLO_LIMIT, ClientHello
from deepreduce.plan import Relu, digest, run, weights_digest
from plan_samples import conv, plan_of
from sessions import PLAN, TIMEOUT_S, WEIGHTS, X, serving, weights_of

EXACT = run(PLAN, WEIGHTS, X)["d"]
LARGER = plan_of(
    conv("c", "input", 8), Relu("r", ("c",), 4, 26, 2**20), conv("d", "r", 4), Relu("s", ("d",), 4, 26, 2**20),
    conv("e", "s", 3), input_shape=(3, 16, 16),
)  # fmt: skip


def connect(port, **settings):
    return Client("127.0.0.1", port, timeout_s=TIMEOUT_S, protocol="delphi", insecure="tls" not in settings, **settings)


@pytest.fixture
def tokens(tmp_path):
    """A file of two tokens; the tokens."""
    path = tmp_path / "tokens"
    return path, add_token(path, "alice"), add_token(path, "bob")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls") / "ours"
    make_certificates(folder, ["127.0.0.1"], ["alice", "bob"])
    foreign = tmp_path_factory.mktemp("tls") / "foreign"
    make_certificates(foreign, ["127.0.0.1"], ["alice"])
    return folder, foreign


def mutual(folder):
    return server_context(folder / "server.pem", folder / "server.key", folder / "clients.pem")


def shows(folder, name, trusts=None):
    return client_context(
        (trusts or folder) / "authority.pem", folder / f"client-{name}.pem", folder / f"client-{name}.key"
    )


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def of(path, event):
    return [line for line in lines(path) if line["event"] == event]


# --- who gets in ------------------------------------------------------------------------------------------------------


def test_tokens_name_who_asks_and_may_end(tokens, tmp_path):
    path, alice, bob = tokens
    with serving(PLAN, WEIGHTS, tokens=path, audit=tmp_path / "audit") as (_, port):
        for token in (alice, bob):
            with connect(port, token=token, mode="single") as client:
                assert np.array_equal(client.predict_integers(X), EXACT)
        remove_token(path, "alice")
        with pytest.raises(PeerError, match="access denied"):
            connect(port, token=alice)
        connect(port, token=bob).close()
        add_token(path, "bob", replace=True)
        with pytest.raises(PeerError, match="access denied"):
            connect(port, token=bob)
    accepted = [line["identity"] for line in of(tmp_path / "audit", "authentication") if line["result"] == "accepted"]
    assert accepted == ["alice", "bob", "bob"]
    assert [line["identity"] for line in of(tmp_path / "audit", "prediction")] == ["alice", "bob"]
    changes = [(line["new"], line["removed"]) for line in of(tmp_path / "audit", "configuration")]
    assert changes == [([], ["alice"]), (["bob"], [])]


def test_one_token_for_all_still_works_beside_them(tokens):
    path, alice, _ = tokens
    with serving(PLAN, WEIGHTS, tokens=path, token="open sesame") as (server, port):
        with connect(port, token="open sesame"), connect(port, token=alice):
            assert set(server.resources.access._sessions) == {"anonymous", "alice"}
        with pytest.raises(PeerError, match="access denied"):
            connect(port, token="open")


def test_certificates_name_who_asks(certificates, tmp_path):
    ours, foreign = certificates
    with serving(PLAN, WEIGHTS, tls=mutual(ours), audit=tmp_path / "audit") as (server, port):
        with connect(port, tls=shows(ours, "alice"), mode="single") as client:
            assert np.array_equal(client.predict_integers(X), EXACT)
            assert list(server.resources.access._sessions) == ["alice"]
        for stranger in (client_context(ours / "authority.pem"), shows(foreign, "alice", ours)):
            for _ in range(3):
                with pytest.raises(SessionError, match="asks for a certificate of an authority that it knows"):
                    connect(port, tls=stranger)
        while len(of(tmp_path / "audit", "authentication")) < 7:  # strangers are told before the log is
            time.sleep(0.02)
    found = of(tmp_path / "audit", "authentication")
    assert [line.get("identity") for line in found] == ["alice"] + [None] * 6
    assert [line["result"] for line in found] == ["accepted"] + ["refused"] * 6
    assert all(line["why"].startswith("TLS: ") for line in found[1:])


def test_a_certificate_and_a_token_must_name_the_same(certificates, tokens):
    ours, (path, alice, bob) = certificates[0], tokens
    with serving(PLAN, WEIGHTS, tls=mutual(ours), tokens=path) as (_, port):
        connect(port, tls=shows(ours, "alice"), token=alice).close()
        for token in (bob, None, "nobody's"):
            with pytest.raises(PeerError, match="access denied"):
                connect(port, tls=shows(ours, "alice"), token=token)


def test_a_context_that_trusts_one_authority_trusts_no_other(certificates):
    context = client_context(certificates[0] / "authority.pem")
    assert context.cert_store_stats()["x509"] == 1
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname


# --- what a stranger sees ---------------------------------------------------------------------------------------------


def hello(**changes):
    fields = {"version": 7, "protocol": "ot", "batch": 1, "token": None, "known": None, "identity": "0" * 64,
              "keeps": False, "plan": "", **changes}  # fmt: skip
    return json.dumps(fields).encode()


def framed(content, kind=Kind.HELLO, sequence=0, zero=0, length=None):
    return HEADER.pack(kind, zero, sequence, len(content) if length is None else length) + content


def strangers():
    """What those send who have no credentials: hellos that are good but for the token, and all kinds of rubbish."""
    rng = random.Random(7)
    found = [b"", b"\0" * 8, b"GET / HTTP/1.1\r\n\r\n", bytes(range(256))]
    good = [hello(token=token) for token in (None, "", "wrong", "\ud800", "x" * 1000, "open sesam", "open sesame ")]
    good += [hello(token="wrong", known=plan) for plan in (digest(PLAN), digest(LARGER), "0" * 64)]
    good += [hello(batch=batch) for batch in (0, -1, 2, 64, 4096, 4097, 10**9)]
    good += [hello(protocol=name) for name in ("delphi", "other", "")] + [hello(keeps=True), hello(version=1)]
    good += [
        hello(version=6),
        hello(plan=None),
        hello(plan="other"),
        hello(plan="../x"),
        hello(plan=3),
        hello(version="2"),
        hello(identity="g" * 64),
        hello(extra=1),
        b"{}",
        b"[]",
        b"[" * 4000,
    ]
    found += [framed(content) for content in good]
    found += [framed(b"", kind) for kind in Kind if kind != Kind.ERROR] + [framed(b"\1", kind) for kind in Kind]
    found += [framed(good[0], sequence=1), framed(good[0], zero=1), framed(b"x" * (HELLO_LIMIT + 1))]
    found += [framed(good[0], length=0xFFFFFFFF), framed(good[0], length=len(good[0]) - 1), framed(good[0]) * 3]
    found += [
        framed(good[0]) + framed(b"\0" * 16, Kind.PREPARE, 1),
        framed(good[0]) + framed(b"\1", Kind.QUOTA_CHECK, 1),
    ]
    whole = framed(good[2])
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        found.append(bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])]))
    return found


def seen(port, content):
    """All that comes back, in its order, until the server ends the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), 30) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(content)
        sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(4096):
            received += piece
    return received


@pytest.mark.parametrize("stored", [False, True])
def test_a_stranger_sees_the_same_whatever_is_served(stored, tmp_path):
    """Two plans that differ in everything: the bytes that come back, and their order, are equal, and say nothing."""
    stores = [{"store": tmp_path / name} if stored else {} for name in ("a", "b")]
    small, large = (PLAN, WEIGHTS), (LARGER, weights_of(LARGER))
    with (
        serving(*small, token="open sesame", timeout_s=TIMEOUT_S, **stores[0]) as (_, near),
        serving(*large, token="open sesame", timeout_s=TIMEOUT_S, **stores[1]) as (_, far),
    ):
        connect(near, token="open sesame").close()
        connect(far, token="open sesame").close()
        allowed = {b""} | {
            framed(bytes([reason]), Kind.ERROR) for reason in (Reason.REFUSED, Reason.MALFORMED, Reason.VERSION)
        }
        for content in strangers():
            found = seen(near, content)
            assert found == seen(far, content), content
            assert found in allowed, content


def test_whatever_is_wrong_with_a_token_looks_the_same(tokens):
    path, alice, _ = tokens
    with serving(PLAN, WEIGHTS, tokens=path) as (_, port):
        remove_token(path, "alice")
        answers = {seen(port, framed(hello(token=token))) for token in (None, "", "nobody's", alice, "\ud800")}
    assert answers == {framed(bytes([Reason.REFUSED]), Kind.ERROR)}


def test_without_a_certificate_nobody_gets_beyond_the_handshake(certificates, monkeypatch):
    """Not one byte of the session is sent, and the server does not read what the stranger says."""
    ours, foreign = certificates
    read = []
    monkeypatch.setattr(session, "read_hello", lambda channel: read.append(channel))
    with serving(PLAN, WEIGHTS, tls=mutual(ours), timeout_s=TIMEOUT_S) as (_, port):
        for context in (client_context(ours / "authority.pem"), shows(foreign, "alice", ours)):
            with (
                socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as sock,
                pytest.raises((ssl.SSLError, ConnectionError)),
                context.wrap_socket(sock, server_hostname="127.0.0.1") as secured,
            ):
                secured.sendall(framed(hello()))
                assert secured.recv(1) is None  # unreachable: it raises
        assert not read


# --- quotas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [False, True])
def test_beyond_a_quota_nothing_prepared_is_lost(stored, tokens, tmp_path):
    path, alice, bob = tokens
    quotas = Quotas(Quota(predictions=2, window_s=3600))
    kept = {"store": tmp_path / "server"} if stored else {"state": tmp_path / "state"}
    own = {"store": tmp_path / "client"} if stored else {}
    with serving(PLAN, WEIGHTS, tokens=path, quotas=quotas, audit=tmp_path / "audit", **kept) as (server, port):
        with connect(port, token=alice, **own) as client:
            client.prepare(4)
            for _ in range(2):
                assert np.array_equal(client.predict_integers(X), EXACT)
            for _ in range(2):
                with pytest.raises(
                    PeerError, match=r"predictions is used up: 2 images in 60 min \(try again in \d\d min; "
                ) as info:
                    client.predict_integers(X)
                assert info.value.reason == Reason.QUOTA
                assert client.prepared == server.resources.ready() == 2
            server.resources.access.replace_quotas(Quotas(Quota(predictions=3, window_s=3600)))
            assert np.array_equal(client.predict_integers(X), EXACT)  # the session goes on
        with connect(port, token=bob, mode="single") as client:
            client.predict_integers(X)  # whose own is not used up
    assert [line["what"] for line in of(tmp_path / "audit", "quota")] == ["predictions"] * 2
    assert of(tmp_path / "audit", "configuration")[0]["default"] == {"predictions": 3, "window_s": 3600}


def test_a_restart_resets_nothing_and_servers_share_what_is_counted(tmp_path):
    shared = {"state": tmp_path / "state", "quotas": Quotas(Quota(total=3))}
    for _ in range(2):
        with serving(PLAN, WEIGHTS, **shared) as (_, port), connect(port, mode="single") as client:
            client.predict_integers(X)
    with serving(PLAN, WEIGHTS, **shared) as (_, first), serving(LARGER, weights_of(LARGER), **shared) as (_, second):
        with connect(first, mode="single") as client:
            client.predict_integers(X)
        with connect(second, mode="single") as client, pytest.raises(PeerError, match="ask its operator for more"):
            client.predict_integers(np.zeros((1, 3, 16, 16), np.int64))


def test_what_was_asked_for_and_not_done_is_given_back(tmp_path):
    with serving(PLAN, WEIGHTS, state=tmp_path / "state", quotas=Quotas(Quota(total=1))) as (server, port):
        with connect(port) as client, pytest.raises(SessionError, match="nothing is prepared"):
            client.predict_integers(X)
        wait_for(lambda: not server.resources.access._sessions)
        with connect(port, mode="single") as client:
            client.predict_integers(X)
            with pytest.raises(PeerError, match="quota"):
                client.predict_integers(X)


def test_a_client_that_does_not_ask_is_refused_and_the_servers_part_is_kept(tmp_path, monkeypatch):
    kept = {"store": tmp_path / "server", "quotas": Quotas(Quota(total=1))}
    with serving(PLAN, WEIGHTS, **kept) as (server, port):
        client = connect(port, store=tmp_path / "client")
        client.prepare(2)
        monkeypatch.setattr(client, "_ask", lambda asked: None)
        client.predict_integers(X)
        with pytest.raises(PeerError, match="what it lets us use is used up: 1 image in all") as info:
            client.predict_integers(X)
        assert info.value.reason == Reason.QUOTA
        assert server.resources.store.ready() == 1
        client.close()


@pytest.mark.parametrize("stored", [False, True])
def test_material_that_may_be_ready(stored, tmp_path):
    """Of one identity, whatever clients it pretends to be."""
    kept = {"store": tmp_path / "server"} if stored else {}
    with serving(PLAN, WEIGHTS, quotas=Quotas(Quota(ready=3)), **kept) as (server, port):
        own = [{"store": tmp_path / name} if stored else {} for name in "ab"]
        with connect(port, **own[0]) as first, connect(port, **own[1]) as second:
            first.prepare(2)
            second.prepare(1)
            for client in (first, second):
                with pytest.raises(PeerError, match="is used up: 3 prepared and unused batches"):
                    client.prepare(1)
            assert server.resources.ready() == 3
            assert np.array_equal(first.predict_integers(X), EXACT)
            wait_for(lambda: server.resources.ready() == 2)
            second.prepare(1)
            assert np.array_equal(second.predict_integers(X), EXACT)


def test_images_that_may_ever_be_prepared(tmp_path):
    quotas = Quotas(Quota(prepared=5))
    with serving(PLAN, WEIGHTS, state=tmp_path / "state", quotas=quotas) as (_, port):
        with connect(port, batch=2) as client:
            client.prepare(2)
            with pytest.raises(PeerError, match="used up: 5 prepared images in all"):
                client.prepare(1)
            assert client.prepared == 2
        with connect(port) as client:
            client.prepare(1)
            client.predict_integers(X)
            with pytest.raises(PeerError, match="quota of preparations"):
                client.prepare(1)


def test_connections_of_one_identity(tokens, tmp_path):
    path, alice, bob = tokens
    quotas = Quotas(Quota(connections=1), {"bob": Quota(connections=0)})
    shared = {"tokens": path, "quotas": quotas, "state": tmp_path / "state"}
    with serving(PLAN, WEIGHTS, **shared) as (server, first), serving(PLAN, WEIGHTS, **shared) as (_, second):
        with connect(first, token=alice):
            for port in (first, second):
                with pytest.raises(PeerError) as info:
                    connect(port, token=alice)
                assert info.value.reason == Reason.QUOTA
        with pytest.raises(PeerError, match="0 connections at a time") as info:
            connect(first, token=bob)
        assert info.value.reason == Reason.QUOTA
        wait_for(lambda: not server.resources.access._sessions)
        connect(second, token=alice).close()


def test_images_are_counted_without_any_quota(tokens, tmp_path):
    path, alice, _ = tokens
    with serving(PLAN, WEIGHTS, tokens=path, store=tmp_path / "server") as (server, port):
        with connect(port, token=alice, batch=2) as client:
            client.prepare(3)
            client.predict_integers(np.concatenate([X, X]))
        usage = server.resources.access.ledger.usage()
        assert [(one.identity, one.prepared, one.predicted) for one in usage] == [("alice", 6, 2)]
        assert server.resources.access.ledger.lasting
    with pytest.raises(SettingError, match="needs a folder that outlives the process"):
        ServerSettings(quotas=Quotas(Quota(total=1)), insecure=True)


def test_material_belongs_to_who_prepared_it(tokens, tmp_path):
    """Even for somebody who has the client's whole store, with its identity: another name, other material."""
    path, alice, bob = tokens
    with serving(PLAN, WEIGHTS, tokens=path, store=tmp_path / "server") as (server, port):
        with connect(port, token=alice, store=tmp_path / "client") as client:
            client.prepare(2)
        with connect(port, token=bob, store=tmp_path / "client") as client, pytest.raises(PeerError) as info:
            client.predict_integers(X)
        assert info.value.reason == Reason.BATCH
        assert server.resources.store.ready() == 2
        with connect(port, token=alice, store=tmp_path / "client") as client:
            assert np.array_equal(client.predict_integers(X), EXACT)


# --- what is written down ---------------------------------------------------------------------------------------------


def test_the_audit_log_of_a_session(tokens, tmp_path):
    path, alice, _ = tokens
    with serving(PLAN, WEIGHTS, tokens=path, audit=tmp_path / "audit") as (server, port):
        with pytest.raises(PeerError):
            connect(port, token="a wrong one")
        seen(port, b"rubbish!")
        with connect(port, token=alice, store=tmp_path / "client") as client:
            client.prepare(2)
            client.predict_integers(X)
            identity = client.store.identity("127.0.0.1").hex()
        wait_for(lambda: of(tmp_path / "audit", "closed"))
        with pytest.raises(SettingError):
            Server(PLAN, WEIGHTS, ServerSettings(tokens=tmp_path / "missing", insecure=True))
    found = lines(tmp_path / "audit")
    assert [line["event"] for line in found] == [
        "started", "authentication", "authentication", "authentication", "preparation", "preparation", "prediction",
        "closed", "stopped",
    ]  # fmt: skip
    assert [line.get("why") for line in found[1:4]] == [
        "the client has no valid token", "the client sent frame number 25186 instead of 0", None
    ]  # fmt: skip
    assert (found[0]["plan"], found[0]["weights"]) == (digest(PLAN), weights_digest(WEIGHTS))
    for line in found[4:7]:
        assert (line["identity"], line["address"], line["plan"]) == ("alice", "127.0.0.1", digest(PLAN))
        assert line["images"] == 1
    assert (found[7]["prepared"], found[7]["predicted"]) == (2, 1)
    assert verify_audit_log([tmp_path / "audit"], server.resources.access.audit_head).stopped
    text = (tmp_path / "audit").read_text()
    assert not [secret for secret in (alice, "a wrong one", identity) if secret in text]


def test_what_cannot_be_written_down_does_not_happen(tmp_path, monkeypatch):
    with serving(PLAN, WEIGHTS, audit=tmp_path / "audit") as (server, port):
        client = connect(port)
        client.prepare(2)
        server.resources.access._audit.close()
        with pytest.raises(PeerError):
            client.predict_integers(X)
        with pytest.raises(PeerError):
            connect(port)
    assert not of(tmp_path / "audit", "prediction")


def test_a_hello_shows_no_secrets():
    assert "sesame" not in repr(ClientHello(2, "ot", 1, "open sesame", None, "12" * 32, False, ""))
