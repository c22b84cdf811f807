"""kill -9 at every point of preparing and predicting, on either side: nothing is used twice, the rest still works."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from deepreduce.errors import SessionError
from deepreduce.inference import Client
from deepreduce.inference.transport.errors import PeerError
from deepreduce.inference.transport.frames import Reason
from deepreduce.plan import run
from sessions import PLAN, WEIGHTS, X, serving

EXACT = run(PLAN, WEIGHTS, X)["d"]
MOST = 400  # points, more than there are
STEP = {"prepare": 7, "predict": 3}  # of which one is tried


@pytest.fixture
def folder(tmp_path):
    """In memory where that can be: what a killed process wrote is seen all the same, and syncing is free."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@contextmanager
def parties():
    """Orders one after the other to the process that forks; see crash_parties.py."""
    script = Path(__file__).parents[1] / "support" / "crash_parties.py"
    process = subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    def order(**fields):
        process.stdin.write(json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in fields.items()}) + "\n")
        process.stdin.flush()

    try:
        yield order, lambda: json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.kill()
        process.wait()


def uses(log):
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    assert len(lines) == len(set(lines)), "a batch was used twice"
    return lines


def use_up(port, store, accepted):
    """Predicts with all that is ready in the client's store; (exact answers, refusals)."""
    exact = refused = 0
    with Client("127.0.0.1", port, protocol="delphi", store=store, timeout_s=5, insecure=True) as client:
        while client.prepared:
            (batch_id,) = client.store._database._connection.execute(
                "SELECT id FROM batches WHERE state = 'ready' ORDER BY number LIMIT 1"
            ).fetchone()
            try:
                answer = client.predict_integers(X)
            except PeerError as error:
                assert error.reason == Reason.BATCH
                refused += 1
                client.reconnect()
                continue
            assert np.array_equal(answer, EXACT)
            assert batch_id.hex() not in accepted, "the server had begun with it"
            accepted.add(batch_id.hex())
            exact += 1
    return exact, refused


def prepare(port, store, count):
    with Client("127.0.0.1", port, protocol="delphi", store=store, timeout_s=5, insecure=True) as client:
        client.prepare(count)


@pytest.mark.parametrize("work", ["prepare", "predict"])
def test_a_client_that_is_killed(folder, work):
    """One batch is for the one that dies, another must be left whole; the server's own log says what it began."""
    log, store, accepted, killed = folder / "log", folder / "client", set(), 0
    with serving(PLAN, WEIGHTS, store=folder / "server", timeout_s=5) as (_, port), parties() as (order, answer):
        for at in range(1 + (work == "predict"), MOST, STEP[work]):
            prepare(port, store, 2)
            order(work=work, at=at, port=port, store=store, log=log)
            status = answer()["status"]
            exact, refused = use_up(port, store, accepted)
            begun = {line.split()[1] for line in uses(log)}
            assert not begun & accepted
            assert refused == 0  # a client that dies has burnt at most what it had
            assert exact in ((2, 3) if work == "prepare" else (1, 2))
            if status == 0:  # it came to its end
                break
            assert os.WTERMSIG(status) == signal.SIGKILL
            killed += 1
        else:
            pytest.fail("there were more points than expected")
    assert killed > 5


@pytest.mark.parametrize("work", ["prepare", "predict"])
def test_a_server_that_is_killed(folder, work):
    log, store, accepted, killed = folder / "log", folder / "client", set(), 0
    with parties() as (order, answer):
        for at in range(2 + (work == "predict"), MOST, STEP[work]):
            with serving(PLAN, WEIGHTS, store=folder / "server", timeout_s=5) as (_, port):
                prepare(port, store, 2)
            order(work="serve", at=at, store=folder / "server", log=log)
            party = answer()
            alive = party["port"] != 0 and not work_with(work, party["port"], store)
            if alive:
                with suppress(ProcessLookupError):  # it may have died of what it does when the client has left
                    os.kill(party["pid"], signal.SIGKILL)
            assert os.WTERMSIG(answer()["status"]) == signal.SIGKILL
            uses(log)
            with serving(PLAN, WEIGHTS, store=folder / "server", timeout_s=5) as (_, port):
                exact, refused = use_up(port, store, accepted)
            begun = {line.split()[1] for line in uses(log)}
            assert not begun & accepted
            assert exact >= 1 + (work == "prepare")
            assert exact + refused <= 3
            killed += 1
            if alive:
                break
        else:
            pytest.fail("there were more points than expected")
    assert killed > 5


def work_with(work, port, store):
    """Whether the server died of it."""
    try:
        with Client("127.0.0.1", port, protocol="delphi", store=store, timeout_s=5, insecure=True) as client:
            client.prepare(1) if work == "prepare" else client.predict_integers(X)
    except SessionError:
        return True
    return False
