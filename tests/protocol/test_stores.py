"""Material that outlives connections and processes of either side, and whom it serves."""

import json
import os
import re
import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from deepreduce.errors import SessionError, SettingError, StoreError
from deepreduce.inference import BackgroundPreparer, Client
from deepreduce.inference.protocol.material import ClientMaterial
from deepreduce.inference.store import StoreFullError, encrypted_file, store
from deepreduce.inference.store.encrypted_file import expected_bytes
from deepreduce.inference.transport.channel import Channel
from deepreduce.inference.transport.errors import PeerError
from deepreduce.inference.transport.frames import Kind, Reason
from deepreduce.plan import MaxPool, Relu, Rescale, pack_kept, predict, run
from deepreduce.plan.serialization import weight_tensors
from deepreduce.units import show_bytes
from plan_samples import conv, plan_of
from random_plans import random_input, random_plan
from sessions import PLAN, TIMEOUT_S, WEIGHTS, X, differences, image, serving

EXACT = run(PLAN, WEIGHTS, X)["d"]


@contextmanager
def stored(tmp_path, plan=PLAN, weights=WEIGHTS, name="server", **settings):
    with serving(plan, weights, store=tmp_path / name, timeout_s=TIMEOUT_S, **settings) as (server, port):
        yield server, port


def connect(port, tmp_path, name="client", **settings):
    settings = {"protocol": "delphi", "timeout_s": TIMEOUT_S, **settings}
    return Client("127.0.0.1", port, store=tmp_path / name, insecure=True, **settings)


@contextmanager
def frames(monkeypatch):
    """(kind, op) of every frame that this process sends while the block runs."""
    seen, send = [], Channel.send

    def watched(self, kind, *parts, **settings):
        seen.append(kind)
        return send(self, kind, *parts, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Channel, "send", watched)
        yield seen


def test_prepared_here_predicted_after_restarts_of_both(tmp_path, monkeypatch):
    """Exact, at the predicted cost, without keys and without the plan."""
    with stored(tmp_path) as (_, port), connect(port, tmp_path) as client:
        assert client.stored
        client.prepare(2)
        assert client.prepared == 2
    with stored(tmp_path) as (_, port), frames(monkeypatch) as seen:
        for left in (1, 0):
            with connect(port, tmp_path) as client:
                assert np.array_equal(client.predict_integers(X), EXACT)
                assert client.prepared == left
                assert not differences(client, "delphi", 1)
        assert not {Kind.SETUP, Kind.PREPARE} & set(seen)
        assert seen.count(Kind.PLAN) == 1  # the server has another place now: its number is another port's
        with connect(port, tmp_path) as client, pytest.raises(SessionError, match="nothing is prepared"):
            client.predict_integers(X)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(ring_bits=st.sampled_from([24, 32, 41]), seed=st.integers(0, 2**32), protocol=st.sampled_from(["ot", "delphi"]))
def test_any_network_through_the_stores(tmp_path_factory, ring_bits, seed, protocol):
    folder = tmp_path_factory.mktemp("stores")
    rng = np.random.default_rng(seed)
    plan, weights = random_plan(rng, ring_bits)
    x = random_input(rng, plan, 2)
    with stored(folder, plan, weights) as (_, port), connect(port, folder, protocol=protocol, batch=2) as client:
        client.prepare(1)
    with stored(folder, plan, weights) as (_, port), connect(port, folder, protocol=protocol, batch=2) as client:
        y = client.predict_integers(x)
        assert not differences(client, protocol, 2)
    if protocol == "delphi":
        assert np.array_equal(y, run(plan, weights, x)[plan.output])


KEPT = pack_kept(np.arange(3 * 11 * 9) % 3 != 1)
SINGLE = {
    "relu": Relu("op", ("c",), 5, 26, 2**20),
    "relu of some": Relu("op", ("c",), 5, 26, 2**20, KEPT),
    "rescale": Rescale("op", ("c",), 6, 2**20),
    "pool": MaxPool("op", ("c",), (3, 3), (2, 2), (1, 1, 1, 1), 26, 2**20),
}


@pytest.mark.parametrize("name", SINGLE)
def test_fused_vectors_through_the_stores(tmp_path, name):
    """Within one unit of the exact answer, as without stores: every kind of vector is whole again."""
    plan = plan_of(conv("c", "input", 3), SINGLE[name], input_shape=(2, 11, 9))
    rng = np.random.default_rng(4)
    weights = {k: rng.integers(-900, 900, shape).astype(kind) for k, (kind, shape) in weight_tensors(plan).items()}
    x = image(plan, rng, 3, 40)
    with stored(tmp_path, plan, weights) as (_, port), connect(port, tmp_path, protocol="ot", batch=3) as client:
        client.prepare(1)
        client.reconnect()
        over = client.predict_integers(x) - run(plan, weights, x)["op"]
    assert np.isin(over, (0, 1)).all()


def test_two_images_in_one_connection_and_from_many_threads(tmp_path):
    with stored(tmp_path) as (server, port), connect(port, tmp_path) as client:
        client.prepare(6)
        others = [connect(port, tmp_path) for _ in range(3)]
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda i: others[i % 3].predict_integers(X), range(6)))
        assert all(np.array_equal(answer, EXACT) for answer in answers)
        assert client.prepared == server.resources.store.ready() == 0
        for other in others:
            other.close()


def test_the_plan_is_sent_once(tmp_path, monkeypatch):
    with stored(tmp_path) as (_, port), frames(monkeypatch) as seen:
        for _ in range(2):
            connect(port, tmp_path).close()
        assert seen.count(Kind.PLAN) == 1
        with connect(port, tmp_path) as client:
            assert client.plan == PLAN
        client = Client("127.0.0.1", port, pin=client.plan_digest, insecure=True)  # a pin without a store is not a plan
        assert seen.count(Kind.PLAN) == 2
        client.reconnect()
        assert seen.count(Kind.PLAN) == 2
        client.close()


def test_a_copied_client_shows_the_server_no_second_image(tmp_path, monkeypatch):
    """Two clients with one batch, neither of which knows of the other: the second is refused and has sent nothing."""
    with stored(tmp_path) as (server, port):
        with connect(port, tmp_path) as client:
            client.prepare(2)
        monkeypatch.setattr(store.BurntList, "is_known", lambda *_: True)  # as if a whole disk was set back
        shutil.copytree(tmp_path / "client", tmp_path / "copy")
        with connect(port, tmp_path) as client:
            assert np.array_equal(client.predict_integers(X), EXACT)
        with connect(port, tmp_path, "copy") as copy, frames(monkeypatch) as seen:
            refused(copy)
            assert Kind.INPUT not in seen and seen.count(Kind.RESERVE) == 1
            assert np.array_equal(copy.predict_integers(X), EXACT)
            assert seen.count(Kind.INPUT) == 1
        assert server.resources.store.ready() == 0


def test_a_batch_is_burnt_on_both_sides_before_its_image_is_sent(tmp_path, monkeypatch):
    with stored(tmp_path) as (server, port), connect(port, tmp_path) as client:
        client.prepare(1)
        ready, send = [], Channel.send

        def watched(self, kind, *parts, **settings):
            if kind in (Kind.RESERVE, Kind.INPUT):
                ready.append((kind, client.store.ready(), server.resources.store.ready()))
            return send(self, kind, *parts, **settings)

        monkeypatch.setattr(Channel, "send", watched)
        client.predict_integers(X)
        assert ready == [(Kind.RESERVE, 0, 1), (Kind.INPUT, 0, 0)]


def test_batches_are_reserved_ahead_where_that_is_asked_for(tmp_path, monkeypatch):
    """While the answer is on its way: the next image then waits for nothing. In a store only on demand."""
    with stored(tmp_path) as (server, port), connect(port, tmp_path) as client:
        client.prepare(4)
        with frames(monkeypatch) as seen:
            client.predict_integers(X, more=True)
            client.reserve()  # which is done
            client.predict_integers(X)
            order = [kind for kind in seen if kind in (Kind.RESERVE, Kind.INPUT)]
        assert order == [Kind.RESERVE, Kind.INPUT] * 2
        assert client.prepared == server.resources.store.ready() == 2
        client.reserve()
        assert client.prepared == 2
        client.prepare(1)  # whose answers come after the reservation's
        assert np.array_equal(client.predict_integers(X), EXACT)
        assert client.prepared == 2
        assert [run.online.rounds for run in client.runs] == [client.runs[0].online.rounds] * 3
    with stored(tmp_path) as (_, port), Client("127.0.0.1", port, timeout_s=TIMEOUT_S, insecure=True) as client:
        client.prepare(2)
        with frames(monkeypatch) as seen:
            client.predict_integers(X)
            client.predict_integers(X)
            order = [kind for kind in seen if kind in (Kind.RESERVE, Kind.INPUT)]
        assert order == [Kind.RESERVE, Kind.INPUT] * 2


def test_a_server_whose_disk_fails_does_not_empty_its_clients(tmp_path, monkeypatch):
    """It cannot tell whether it has a batch, so it does not say no: one batch is lost with the session, not all."""
    with stored(tmp_path) as (server, port):
        with connect(port, tmp_path) as client:
            client.prepare(3)
            with monkeypatch.context() as patch, pytest.raises(PeerError) as failure:
                patch.setattr(type(server.resources.store), "claim", failing)
                client.predict_integers(X)
            assert failure.value.reason == Reason.LIMIT
            assert client.store.ready() == 2
        with connect(port, tmp_path) as client:
            assert np.array_equal(client.predict_integers(X), EXACT)


def failing(*_):
    raise StoreError("the disk is full")


def test_an_answer_on_its_way_is_not_lost_with_the_next_batch(tmp_path, monkeypatch):
    with stored(tmp_path) as (_, port), connect(port, tmp_path) as client:
        client.prepare(2)
        client.reserve()
        with monkeypatch.context() as patch:
            patch.setattr(client.store, "claim_next", failing)
            assert np.array_equal(client.predict_integers(X, more=True), EXACT)
            with pytest.raises(StoreError):
                client.predict_integers(X)
        assert np.array_equal(client.predict_integers(X), EXACT)


def test_nobody_asks_for_batches_without_end(tmp_path):
    with stored(tmp_path) as (_, port), connect(port, tmp_path) as client:
        channel = client._connection.channel
        for _ in range(64):
            channel.send(Kind.RESERVE, os.urandom(48))
            assert channel.receive(Kind.RESERVED, 1)[0] == 0
        channel.send(Kind.RESERVE, os.urandom(48))
        with pytest.raises(PeerError) as failure:
            channel.receive(Kind.RESERVED, 1)
        assert failure.value.reason == Reason.LIMIT


def test_servers_of_different_names_see_different_clients(tmp_path, monkeypatch):
    """One store, one server under two names: neither what is prepared nor the identity passes from one to the other."""
    hellos, send = [], Channel.send

    def watched(self, kind, *parts, **settings):
        if kind == Kind.HELLO and b"token" in parts[0]:
            hellos.append(json.loads(parts[0])["identity"])
        return send(self, kind, *parts, **settings)

    monkeypatch.setattr(Channel, "send", watched)
    with stored(tmp_path) as (_, port):
        for name in ("127.0.0.1", "localhost"):
            with Client(
                name, port, protocol="ot", store=tmp_path / "client", timeout_s=TIMEOUT_S, insecure=True
            ) as client:
                assert client.prepared == 0
                client.prepare(1)
        for name in ("127.0.0.1", "localhost"):
            with Client(
                name, port, protocol="ot", store=tmp_path / "client", timeout_s=TIMEOUT_S, insecure=True
            ) as client:
                assert client.prepared == 1
                assert np.array_equal(client.predict_integers(X), EXACT)
    assert hellos[:2] == hellos[2:] and hellos[0] != hellos[1]


# --- who may use what ------------------------------------------------------------------------------------------------


def refused(client):
    with pytest.raises(PeerError, match="does not have the prepared batch") as failure:
        client.predict_integers(X)
    assert failure.value.reason == Reason.BATCH


def test_another_identity_gets_nothing_and_burns_nothing(tmp_path):
    with stored(tmp_path) as (server, port):
        with connect(port, tmp_path) as client:
            client.prepare(1)
            batch_id, transcript, wrapped = client_store_row(tmp_path / "client")
            key = client.store._wrapping.unwrap(wrapped, store._bound(batch_id, client._connection.purpose))
        connect(port, tmp_path, "other").close()
        thief = connect(port, tmp_path, "other")
        # B shows A's batch, with the right transcript, under its own identity.
        thief._pool.take = lambda: (batch_id, stolen(tmp_path, thief, (batch_id, transcript, key)))
        refused(thief)
        assert server.resources.store.ready() == 1
        with connect(port, tmp_path) as client:
            assert np.array_equal(client.predict_integers(X), EXACT)


def client_store_row(folder):
    with sqlite3.connect(folder / "store.sqlite") as db:
        return db.execute("SELECT id, transcript, key FROM batches WHERE state = 'ready'").fetchone()


def stolen(tmp_path, thief, row):
    batch_id, transcript, key = row
    with (tmp_path / "client" / "batches" / batch_id.hex()).open("rb") as file:
        plain = encrypted_file.unseal(file.fileno(), key, batch_id)
    return ClientMaterial.restored(thief._program, plain, transcript, 1)


def test_a_different_transcript_burns_both(tmp_path):
    with stored(tmp_path) as (server, port):
        client = connect(port, tmp_path)
        client.prepare(2)
        with sqlite3.connect(tmp_path / "client" / "store.sqlite") as db:
            db.execute("UPDATE batches SET transcript = ? WHERE number = 1", (bytes(32),))
        refused(client)
        assert client.prepared == server.resources.store.ready() == 1
        client.reconnect()
        assert np.array_equal(client.predict_integers(X), EXACT)
        client.close()


@pytest.mark.parametrize("side", ["client", "server"])
def test_burnt_on_one_side_only(tmp_path, side):
    """Both orders: neither side begins with it, and the next batch serves."""
    with stored(tmp_path) as (server, port):
        client = connect(port, tmp_path)
        client.prepare(2)
        batch_id, _, _ = client_store_row(tmp_path / "client")
        if side == "client":
            client.store.claim_next(client._connection.purpose)
        else:
            with sqlite3.connect(tmp_path / "server" / "store.sqlite") as db:
                (peer,) = db.execute("SELECT DISTINCT peer FROM batches").fetchone()
            server.resources.store.claim(batch_id, peer)
            refused(client)
            client.reconnect()
        assert np.array_equal(client.predict_integers(X), EXACT)
        assert client.prepared == 0
        with pytest.raises(SessionError, match="nothing is prepared"):
            client.predict_integers(X)


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_restored_backup_is_refused(tmp_path, side):
    with stored(tmp_path) as (_, port), connect(port, tmp_path) as client:
        client.prepare(2)
    shutil.copytree(tmp_path / side, tmp_path / "backup")
    with stored(tmp_path) as (_, port), connect(port, tmp_path) as client:
        client.predict_integers(X)
    shutil.rmtree(tmp_path / side)
    shutil.copytree(tmp_path / "backup", tmp_path / side)
    with stored(tmp_path) as (server, port):
        client = connect(port, tmp_path)
        notices = client.store.notices if side == "client" else server.resources.store.notices
        assert "copied or restored: 2 prepared batches are burnt" in notices[0]
        if side == "client":
            assert client.prepared == 0
        else:
            refused(client)
            client.reconnect()
        client.prepare(1)
        assert np.array_equal(client.predict_integers(X), EXACT)
        client.close()


def test_other_weights_make_another_server(tmp_path):
    """Shares of W r under other weights would tell the client their difference."""
    with stored(tmp_path) as (_, port), connect(port, tmp_path) as client:
        client.prepare(1)
    others = {**WEIGHTS, "c.weight": WEIGHTS["c.weight"] + 1}
    with stored(tmp_path, weights=others) as (server, port), connect(port, tmp_path) as client:
        assert client.prepared == 0
        assert server.resources.store.ready() == 1
        client.prepare(1)
        assert np.array_equal(client.predict_integers(X), run(PLAN, others, X)["d"])
    with stored(tmp_path) as (_, port), connect(port, tmp_path) as client:
        assert np.array_equal(client.predict_integers(X), EXACT)


def test_without_a_store_on_either_side_it_is_as_before(tmp_path):
    with serving(PLAN, WEIGHTS) as (_, port), connect(port, tmp_path) as client:
        client.prepare(1)
        assert not client.stored
        assert client.store.ready() == 0
        assert np.array_equal(client.predict_integers(X), EXACT)
        with pytest.raises(SettingError, match="needs a store on both sides"):
            BackgroundPreparer(client, 1)
    with stored(tmp_path) as (server, port):
        with Client("127.0.0.1", port, protocol="delphi", insecure=True) as client:
            client.prepare(1)
            assert server.resources.store.ready() == 0
            assert np.array_equal(client.predict_integers(X), EXACT)
        with connect(port, tmp_path, mode="single") as client:
            assert np.array_equal(client.predict_integers(X), EXACT)
            assert client.store.ready() == server.resources.store.ready() == 0


def test_nothing_is_burnt_for_a_dead_connection(tmp_path):
    with stored(tmp_path) as (_, port):
        client = connect(port, tmp_path)
        client.prepare(1)
    with pytest.raises(SessionError):  # the server is gone
        client.predict_integers(X)
    assert client.prepared == 1


@pytest.mark.parametrize("keeps", [False, True])
def test_a_forked_process_uses_nothing_of_its_parents(tmp_path, keeps):
    with (
        stored(tmp_path) as (_, port),
        Client(
            "127.0.0.1", port, protocol="delphi", store=tmp_path / "client" if keeps else None, insecure=True
        ) as client,
    ):
        client.prepare(1)
        child = os.fork()
        if not child:
            try:
                client.predict_integers(X)
            except SessionError as error:
                client.close()
                os._exit(5 if "forked" in error.message else 6)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        assert np.array_equal(client.predict_integers(X), EXACT)


@pytest.mark.parametrize("side", ["client", "server"])
def test_full_stores(tmp_path, monkeypatch, side):
    """The server's disk: the client is told of a limit. The client's: it knows itself, and the session goes on."""

    def seal(write, *rest):
        here = "client" if threading.current_thread() is threading.main_thread() else "server"
        if here == side:
            raise OSError(28, "No space left on device")
        encrypted_file.seal(write, *rest)

    with stored(tmp_path) as (server, port), connect(port, tmp_path) as client:
        client.prepare(1)
        with monkeypatch.context() as patch:
            patch.setattr(store, "seal", seal)
            with pytest.raises(StoreError if side == "client" else PeerError, match=r"is full|a limit of its settings"):
                client.prepare(1)
        assert client.prepared == 1
        if side == "server":
            assert server.resources.store.ready() == 1
            client.reconnect()
        assert np.array_equal(client.predict_integers(X), EXACT)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_client_stops_preparing_at_its_own_limit(tmp_path, keeps):
    """The limit and the remedy are named, the server has prepared nothing in vain, and nothing prepared is lost."""
    each = predict(PLAN, "delphi", 1).total.stored_bytes_client
    most = 2 * (expected_bytes(each) if keeps else each)
    with stored(tmp_path) as (server, port):
        folder = tmp_path / "client" if keeps else None
        with Client(
            "127.0.0.1", port, protocol="delphi", timeout_s=TIMEOUT_S, store=folder, max_store_bytes=most, insecure=True
        ) as client:
            with pytest.raises(StoreFullError, match=rf"{re.escape(show_bytes(most))} are allowed.*`max_store_bytes`"):
                client.prepare(9)
            ready = client.prepared
            assert 2 <= ready < 9
            assert server.resources.ready() == ready
            for left in range(ready - 1, -1, -1):
                assert np.array_equal(client.predict_integers(X), EXACT)
                assert client.prepared == left
            client.prepare(1)
            assert np.array_equal(client.predict_integers(X), EXACT)


def test_at_its_limit_a_client_does_not_burn_what_it_prepared_for_this_server(tmp_path):
    """Another process may have met another server at the same place: behind a balancer, or after a reload."""
    most = 2 * expected_bytes(predict(PLAN, "delphi", 1).total.stored_bytes_client)
    with stored(tmp_path) as (_, port):
        folder = tmp_path / "client"
        settings = {"protocol": "delphi", "store": folder, "max_store_bytes": most, "insecure": True}
        with Client("127.0.0.1", port, timeout_s=TIMEOUT_S, **settings) as client:
            with pytest.raises(StoreFullError):
                client.prepare(9)
            ready = client.prepared
            client.store.remember(client.target.place, "0" * 32, client.plan_digest, None)
            with pytest.raises(StoreFullError):
                client.prepare(1)
            assert client.prepared == ready


# --- in the background -----------------------------------------------------------------------------------------------


def test_a_preparer_keeps_the_store_filled(tmp_path):
    with stored(tmp_path) as (_, port), connect(port, tmp_path) as client, BackgroundPreparer(client, 2) as preparer:
        for _ in range(4):
            preparer.wait(1, 20)
            assert np.array_equal(client.predict_integers(X), EXACT)
        preparer.wait(2, 20)
        assert client.prepared == 2
        with pytest.raises(SettingError):
            preparer.wait(3)
    assert not [thread for thread in threading.enumerate() if thread.name == "deepreduce-preparer"]


def test_a_preparer_tells_of_faults_of_ours(tmp_path, monkeypatch, caplog):
    with stored(tmp_path) as (_, port), connect(port, tmp_path) as client:

        def fails(self, n=1):
            raise MemoryError("no room")

        with monkeypatch.context() as patch:
            patch.setattr(Client, "prepare", fails)
            with BackgroundPreparer(client, 1) as preparer, pytest.raises(SessionError, match="MemoryError: no room"):
                preparer.wait(1, 5)


def test_a_preparer_tells_what_is_wrong_and_stops_at_once(tmp_path):
    with stored(tmp_path) as (server, port):
        client = connect(port, tmp_path)
        server.close()
        with BackgroundPreparer(client, 1) as preparer:
            with pytest.raises(SessionError):
                preparer.wait(1, 20)
            assert isinstance(preparer.error, SessionError)
            started = time.monotonic()
        assert time.monotonic() - started < 2
        with pytest.raises(SettingError):
            BackgroundPreparer(client, 0)
