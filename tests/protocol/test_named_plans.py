"""Several plans on one port: by name, for those who are let in; limits and quotas are the server's, not a plan's."""

import json
import socket
import time
from contextlib import contextmanager

import numpy as np
import pytest

from deepreduce.errors import SessionError, SettingError
from deepreduce.inference import Client, Quota, Quotas, list_plans
from deepreduce.inference.access.tokens import add_token
from deepreduce.inference.client import connection, retry_while_busy
from deepreduce.inference.transport.errors import BusyError, PeerError
from deepreduce.inference.transport.frames import HEADER, Kind, Reason
from deepreduce.inference.transport.plan_list import MOST_PLANS, PlanOffer, UnknownPlanError, decode_offers
from deepreduce.plan import Relu, digest, predict, run
from plan_samples import conv, plan_of
from sessions import PLAN, TIMEOUT_S, WEIGHTS, X, image, serving, weights_of

OTHER = plan_of(conv("c", "input", 3), Relu("r", ("c",), 4, 26, 2**20), conv("d", "r", 2), input_shape=(3, 8, 8))
OTHERS = weights_of(OTHER, 5)
Y = image(OTHER, np.random.default_rng(4))
EXACT = {"small": run(PLAN, WEIGHTS, X)["d"], "large": run(OTHER, OTHERS, Y)["d"]}


@contextmanager
def two(**settings):
    with serving(PLAN, WEIGHTS, name="small", **settings) as (server, port):
        server.load("large", OTHER, OTHERS)
        yield server, port


def connect(port, plan_name="", **settings):
    return Client(
        "127.0.0.1", port, plan_name=plan_name, timeout_s=TIMEOUT_S, protocol="delphi", insecure=True, **settings
    )


def offers(port, **settings):
    return list_plans("127.0.0.1", port, insecure=True, timeout_s=TIMEOUT_S, **settings)


def test_clients_name_their_plan():
    with two() as (_, port), connect(port, "small") as small, connect(port, "large") as large:
        for client, x, name in ((small, X, "small"), (large, Y, "large")):
            client.prepare(1)
            assert np.array_equal(client.predict_integers(x), EXACT[name])
        assert (small.plan_digest, large.plan_digest) == (digest(PLAN), digest(OTHER))
        large.reconnect()
        with large.another() as another:
            assert another.plan_digest == digest(OTHER)


def test_the_only_plan_and_the_one_without_a_name_need_none():
    with serving(PLAN, WEIGHTS, name="small") as (server, port):
        connect(port).close()
        connect(port, "small").close()
        server.load("", OTHER, OTHERS)
        with connect(port) as client:
            assert client.plan_digest == digest(OTHER)
    with serving(PLAN, WEIGHTS) as (_, port), pytest.raises(UnknownPlanError):
        connect(port, "small")


@pytest.mark.parametrize("name", ["", "medium", "Small"])
def test_a_name_that_is_not_there_gets_those_that_are(name):
    with two() as (_, port), pytest.raises(UnknownPlanError, match="it has large, small") as refused:
        connect(port, name)
    assert refused.value.names == ("large", "small")


def test_what_a_list_says():
    with two() as (_, port):
        large, small = offers(port)
        assert (small.name, small.digest, small.input_shape) == ("small", digest(PLAN), PLAN.input_shape)
        assert (large.name, large.digest, large.relus) == ("large", digest(OTHER), predict(OTHER).total.relus)
        for protocol in ("ot", "delphi"):
            total = predict(PLAN, protocol).total
            expected = tuple(phase.up_bytes + phase.down_bytes for phase in (total.offline, total.online))
            assert small.bytes[protocol] == expected
        connect(port, "small").close()  # the server goes on


@pytest.mark.parametrize("name", ["-x", ".", "a/b", "a b", "ä", "x" * 65, "\n", 5])
def test_names_that_no_plan_has(name):
    with pytest.raises(SettingError, match="cannot name a plan"):
        connect(1, name)
    with two() as (server, _), pytest.raises(SettingError, match="cannot name a plan"):
        server.load(name, PLAN, WEIGHTS)


def test_plans_have_a_number():
    with serving(PLAN, WEIGHTS) as (server, port):
        served = server.resources.plans[""]
        server.resources.plans |= {f"p{number:063}": served for number in range(MOST_PLANS - 1)}
        assert len(offers(port)) == MOST_PLANS  # which one frame holds
        with pytest.raises(SettingError, match="are served already"):
            server.load("one-more", OTHER, OTHERS)
        server.resources.plans = {"": served}


# --- who is told ------------------------------------------------------------------------------------------------------


def answer_to(port, **changes):
    fields = {"version": 7, "protocol": "ot", "batch": 1, "token": None, "known": None, "identity": "0" * 64,
              "keeps": False, "plan": "", **changes}  # fmt: skip
    content, received = json.dumps(fields).encode(), b""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as sock:
        sock.sendall(HEADER.pack(Kind.HELLO, 0, 0, len(content)) + content)
        while piece := sock.recv(4096):
            received += piece
    return received


def test_strangers_learn_no_names(tmp_path):
    """A name that is there, one that is not, and the question for all get the same bytes, one code."""
    token = add_token(tmp_path / "tokens", "alice")
    with two(tokens=tmp_path / "tokens") as (_, port):
        answers = {answer_to(port, plan=plan, token=wrong) for plan in ("small", "large", "medium", "", None)
                   for wrong in (None, "wrong")}  # fmt: skip
        assert answers == {HEADER.pack(Kind.ERROR, 0, 0, 1) + bytes([Reason.REFUSED])}
        with pytest.raises(PeerError, match="access denied"):
            offers(port, token="wrong")
        assert [offer.name for offer in offers(port, token=token)] == ["large", "small"]


def test_lists_take_places_and_count_for_a_rate():
    with two(max_sessions=1) as (_, port), connect(port, "small"), pytest.raises(BusyError):
        offers(port)
    with two(rate=3) as (_, port):
        for _ in range(3):
            offers(port)
        with pytest.raises(PeerError, match="of one address in a minute"):
            offers(port)


# --- limits and quotas ------------------------------------------------------------------------------------------------


def test_no_plan_is_a_way_around_a_quota(tmp_path):
    """Images, material and connections are the identity's, whatever plans they are for; use is counted by plan."""
    quotas = Quotas(Quota(predictions=2, window_s=3600, prepared=4))
    with two(quotas=quotas, state=tmp_path / "state") as (server, port):
        with connect(port, "small", mode="single") as client:
            client.predict_integers(X)
        with connect(port, "large", mode="single") as client:
            client.predict_integers(Y)
            with pytest.raises(PeerError, match="2 images in 60 min"):
                client.predict_integers(Y)
        with connect(port, "small", mode="single") as client, pytest.raises(PeerError, match="2 images in 60 min"):
            client.predict_integers(X)
        usage = server.resources.access.ledger.usage()
        assert sorted((one.plan, one.predicted) for one in usage) == sorted([(digest(PLAN), 1), (digest(OTHER), 1)])
        with connect(port, "small") as client, connect(port, "large") as other:
            client.prepare(2)
            with pytest.raises(PeerError, match="4 prepared images in all"):
                other.prepare(1)


def test_ready_material_and_connections_of_all_plans_together():
    quotas = Quotas(Quota(ready=2, connections=2))
    with two(quotas=quotas) as (_, port), connect(port, "small") as small, connect(port, "large") as large:
        small.prepare(1)
        large.prepare(1)
        for client in (small, large):
            with pytest.raises(PeerError, match="2 prepared and unused batches"):
                client.prepare(1)
        with pytest.raises(PeerError, match="2 connections at a time"):
            connect(port, "large")
        with pytest.raises(PeerError, match="2 connections at a time"):
            offers(port)


def test_memory_is_shared_by_all_plans():
    each = predict(OTHER, "delphi").total.stored_bytes_server
    with two(max_prepared_bytes=each) as (_, port), connect(port, "small") as small, connect(port, "large") as large:
        small.prepare(1)
        with pytest.raises(BusyError, match="memory for prepared material is taken"):
            large.prepare(1)
        small.predict_integers(X)
        retry_while_busy(lambda: large.prepare(1), 20.0, lambda s: time.sleep(0.05))


def test_a_store_keeps_plans_apart(tmp_path):
    with two(store=tmp_path / "server") as (server, port):
        for name in ("small", "large"):
            with connect(port, name, store=tmp_path / "client") as client:
                client.prepare(2)
        for name, x in (("small", X), ("large", Y)):
            with connect(port, name, store=tmp_path / "client") as client:
                assert client.prepared == 2
                assert client.setup.received_bytes < 1000  # its plan was remembered, beside the other's
                assert np.array_equal(client.predict_integers(x), EXACT[name])
        assert server.resources.store.ready() == 2


# --- hostile servers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"plans": {}}', b'{"plans": [{}]}', b'{"plans": [[1]]}', b'{"plans": [null]}',
     b'{"plans": [' + b"null," * 300 + b"null]}"],
)  # fmt: skip
def test_lists_that_cannot_be_read(content):
    with pytest.raises(SessionError, match="cannot be read"):
        decode_offers(content)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "\x1b[2J"), ("name", None), ("digest", "AB" * 32), ("digest", ""), ("input_shape", []),
     ("input_shape", [True, 1, 1]), ("input_shape", [1.5]), ("input_shape", [1] * 9), ("classes", -1),
     ("relus", 1 << 63), ("relus", True), ("bytes", {"other": [1, 2]}), ("bytes", {"ot": [1]}), ("bytes", {"ot": 5}),
     ("bytes", []), ("more", 1)],
)  # fmt: skip
def test_fields_that_no_server_of_ours_sends(field, value):
    good = {"name": "a", "digest": "ab" * 32, "input_shape": [3, 8, 8], "classes": 10, "relus": 5,
            "bytes": {"ot": [1, 2]}}  # fmt: skip
    assert decode_offers(json.dumps({"plans": [good]}).encode()) == [
        PlanOffer("a", "ab" * 32, (3, 8, 8), 10, 5, {"ot": (1, 2)})
    ]
    with pytest.raises(SessionError, match="cannot be read"):
        decode_offers(json.dumps({"plans": [{**good, field: value}]}).encode())


def test_a_list_has_a_length(monkeypatch):
    monkeypatch.setattr("deepreduce.inference.server.session.encode_offers", lambda offers: bytes(1 << 18))
    with two() as (_, port):
        for ask in (lambda: offers(port), lambda: connect(port)):
            with pytest.raises(SessionError, match="PLANS frame of 262144 bytes"):
                ask()


def test_another_version_is_told(monkeypatch):
    with two() as (_, port), monkeypatch.context() as patch:
        patch.setattr(connection, "VERSION", 6)
        with pytest.raises(PeerError, match="another version"):
            connect(port, "small")
