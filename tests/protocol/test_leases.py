"""Fork servers of several processes: leased for as long as a plan is used, and ended with the last lease."""

import socket
import time

import numpy as np
import pytest

from deepreduce.errors import PlanError
from deepreduce.inference import Client, Server, ServerSettings
from deepreduce.inference.protocol.linear import computation
from deepreduce.inference.server.workers import ForkServers, ForkServersClient
from deepreduce.inference.server.workers.remote import WorkerError
from deepreduce.plan import digest, run
from sessions import PLAN, WEIGHTS, X, weights_of

RETRAINED = weights_of(PLAN, 9)
FIRST, SECOND = (computation(digest(PLAN), weights) for weights in (WEIGHTS, RETRAINED))
PATIENCE_S = 60.0


@pytest.fixture
def shared():
    """The supervisor's side, and a server process's."""
    servers = ForkServers(1, -1)
    try:
        servers.load("", PLAN, WEIGHTS)
        with socket.socket(fileno=socket.dup(servers.requests.fileno())) as requests:
            yield servers, ForkServersClient(requests)
    finally:
        servers.close()


def wait_until(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_former_version_ends_with_its_last_lease(shared):
    servers, client = shared
    leases = [client.lease(FIRST) for _ in range(2)]
    former = servers._servers[FIRST]
    assert servers.load("", PLAN, RETRAINED)
    assert not servers.load("", PLAN, RETRAINED)  # is there already
    leases[0].close()
    client.lease(SECOND).close()
    assert former._child.alive()
    leases[1].worker("ot", 1).close()
    leases[1].close()
    wait_until(lambda: not former._child.alive())
    assert set(servers._servers) == {SECOND}  # current, with or without a lease
    with pytest.raises(WorkerError, match="has read another version"):
        client.lease(FIRST)


def test_a_version_that_nobody_leases_ends_at_once(shared):
    servers, _ = shared
    former = servers._servers[FIRST]
    servers.load("", PLAN, RETRAINED)
    assert not former._child.alive() and set(servers._servers) == {SECOND}


def test_two_names_of_one_plan_share_a_fork_server(shared):
    servers, client = shared
    only = servers._servers[FIRST]
    servers.load("again", PLAN, WEIGHTS)
    servers.load("", PLAN, RETRAINED)
    assert servers._servers[FIRST] is only and only._child.alive()
    client.lease(FIRST).close()


def test_what_cannot_be_loaded_changes_nothing(shared):
    servers, client = shared
    wide = {name: np.full_like(array, 32767) for name, array in WEIGHTS.items()}
    with pytest.raises(PlanError):
        servers.load("", PLAN, {**wide, "c.weight": WEIGHTS["c.weight"][:1]})
    client.lease(FIRST).close()


def test_servers_of_two_processes_prepare_with_one_fork_server(shared):
    servers, client = shared
    settings = ServerSettings(workers=1, insecure=True)
    with (
        Server(PLAN, WEIGHTS, settings, fork_servers=client) as first,
        Server(PLAN, WEIGHTS, settings, fork_servers=client) as second,
    ):
        for server in (first, second):
            port = server.listen()
            server.start()
            with Client("127.0.0.1", port, protocol="delphi", mode="single", insecure=True) as session:
                assert np.array_equal(session.predict_integers(X), run(PLAN, WEIGHTS, X)["d"])
        with pytest.raises(WorkerError, match="has read another version"):
            first.load("", PLAN, RETRAINED)  # before the supervisor has it
        with Client("127.0.0.1", port, protocol="delphi", mode="single", insecure=True) as session:
            assert np.array_equal(session.predict_integers(X), run(PLAN, WEIGHTS, X)["d"])
        servers.load("", PLAN, RETRAINED)
        assert first.load("", PLAN, RETRAINED)
        assert FIRST in servers._servers  # of the second, until it has loaded it, too
        assert second.load("", PLAN, RETRAINED)
        wait_until(lambda: set(servers._servers) == {SECOND})
