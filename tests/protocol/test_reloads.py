"""A new version of a plan while sessions are open: they finish with theirs, and then theirs is freed."""

import gc
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from deepreduce.errors import PlanError, SettingError
from deepreduce.inference import Client, Server, ServerSettings
from deepreduce.inference.access.audit_verify import verify_audit_log
from deepreduce.plan import Relu, digest, run
from plan_samples import conv, plan_of
from sessions import PLAN, WEIGHTS, X, image, serving, weights_of

OTHER = plan_of(conv("c", "input", 3), Relu("r", ("c",), 4, 26, 2**20), conv("d", "r", 2))
OTHERS = weights_of(OTHER, 5)
RETRAINED = weights_of(PLAN, 9)
PATIENCE_S = 30.0


def connect(port, **settings):
    return Client("127.0.0.1", port, protocol="delphi", insecure=True, **settings)


def exact(plan, weights, x):
    return run(plan, weights, x)["d"]


def wait_until(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [0, 1])
def test_old_sessions_finish_and_new_ones_get_the_new_plan(workers):
    y = image(OTHER, np.random.default_rng(4))
    with serving(PLAN, WEIGHTS, workers=workers) as (server, port), connect(port) as old:
        old.prepare(1)
        former = server.resources.plans[""]
        pid = former._workers._child._process.pid if workers else None
        assert server.load("", OTHER, OTHERS)
        with connect(port) as new:
            assert (old.plan_digest, new.plan_digest) == (digest(PLAN), digest(OTHER))
            new.prepare(1)
            assert np.array_equal(new.predict_integers(y), exact(OTHER, OTHERS, y))
        old.prepare(1)  # it goes on in every way
        for _ in range(2):
            assert np.array_equal(old.predict_integers(X), exact(PLAN, WEIGHTS, X))
        assert former.linears and (pid is None or Path(f"/proc/{pid}").exists())
        found = weakref.ref(former)
        del former
        old.close()
        wait_until(lambda: gc.collect() is not None and found() is None)  # with all that it held
        wait_until(lambda: pid is None or not Path(f"/proc/{pid}").exists())


def test_a_version_without_sessions_is_freed_at_once():
    with serving(PLAN, WEIGHTS, workers=1) as (server, _):
        former = server.resources.plans[""]
        assert server.load("", PLAN, RETRAINED)
        assert not former.linears and not former._workers._child.alive()
        assert not server.load("", PLAN, {name: array.copy() for name, array in RETRAINED.items()})  # is served already


def test_what_cannot_be_served_leaves_the_old_plan_in_service(tmp_path):
    wide = {name: np.full_like(array, 32767) for name, array in WEIGHTS.items()}
    with serving(PLAN, WEIGHTS, workers=1, audit=tmp_path / "audit") as (server, port):
        for weights in (wide, {}, OTHERS):
            with pytest.raises(PlanError):
                server.load("", PLAN, weights)
        with pytest.raises(SettingError):
            server.load("", "plan", WEIGHTS)
        with connect(port) as client:
            client.prepare(1)
            assert np.array_equal(client.predict_integers(X), exact(PLAN, WEIGHTS, X))
    assert verify_audit_log([tmp_path / "audit"]).stopped
    assert '"what": "plan"' not in (tmp_path / "audit").read_text()


def test_what_was_prepared_for_the_former_version_is_not_used(tmp_path):
    """By the weights, too: the plan may be the same."""
    stores = {"store": tmp_path / "client"}
    with serving(PLAN, WEIGHTS, store=tmp_path / "server", audit=tmp_path / "audit") as (server, port):
        with connect(port, **stores) as client:
            client.prepare(2)
            server.load("", PLAN, RETRAINED)
            assert np.array_equal(client.predict_integers(X), exact(PLAN, WEIGHTS, X))  # by the session that has it
        with connect(port, **stores) as client:
            assert client.prepared == 0 and server.resources.store.ready() == 1
            client.prepare(1)
            assert np.array_equal(client.predict_integers(X), exact(PLAN, RETRAINED, X))
            server.load("", PLAN, WEIGHTS)
        with connect(port, **stores) as client:  # back again: what is left of it is there
            assert client.prepared == 1
            assert np.array_equal(client.predict_integers(X), exact(PLAN, WEIGHTS, X))
        usage = server.resources.access.ledger.usage()
    assert sorted((one.plan, one.predicted) for one in usage) == [(digest(PLAN), 1), (digest(PLAN), 2)]
    assert len({one.weights for one in usage}) == 2
    assert (tmp_path / "audit").read_text().count('"what": "plan"') == 2


def test_sessions_that_begin_while_plans_change(tmp_path):
    """Every answer is the one of the digest that its session was told."""
    y, errors = image(OTHER, np.random.default_rng(4)), []
    expected = {digest(PLAN): (X, exact(PLAN, WEIGHTS, X)), digest(OTHER): (y, exact(OTHER, OTHERS, y))}

    def ask(port):
        try:
            for _ in range(6):
                with connect(port, mode="single") as client:
                    x, answer = expected[client.plan_digest]
                    assert np.array_equal(client.predict_integers(x), answer)
        except BaseException as error:
            errors.append(error)

    with serving(PLAN, WEIGHTS) as (server, port):
        threads = [threading.Thread(target=ask, args=(port,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for plan, weights in ((OTHER, OTHERS), (PLAN, WEIGHTS)):
                assert server.load("", plan, weights)
                time.sleep(0.02)
        assert not errors
        wait_until(lambda: server.resources.plans[""]._users == 0)


def test_a_closed_server_loads_nothing():
    server = Server(PLAN, WEIGHTS, ServerSettings(workers=1, insecure=True))
    server.close()
    with pytest.raises(SettingError, match="the server is closed"):
        server.load("", OTHER, OTHERS)
