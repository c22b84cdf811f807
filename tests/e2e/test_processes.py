"""`serve --processes 2`: one port, one store, clients that come back, a process that dies, an end for all of them."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from deepreduce.errors import SessionError
from deepreduce.inference import Client
from deepreduce.plan import Relu, digest, run, write_plan, write_weights
from plan_samples import conv, plan_of, random_weights

PLAN = plan_of(conv("c", "input", 2), Relu("r", ("c",), 4, 26, 2**20), conv("d", "r", 1))
WEIGHTS = random_weights(PLAN, np.random.default_rng(1), bits=7)
X = np.random.default_rng(2).integers(-16, 16, (1, *PLAN.input_shape), np.int64)
EXACT = run(PLAN, WEIGHTS, X)["d"]
PATIENCE_S = 90.0


def start(folder, *options):
    command = [sys.executable, "-m", "deepreduce", "serve", folder / "plan", "--insecure", "--log", "json", *options]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@contextmanager
def served(folder, *options, processes=2):
    """(process, port) of a supervisor whose processes are ready, or of a single server."""
    process = start(folder, "--listen", "127.0.0.1:0", "--processes", processes, *options)
    try:
        line = process.stdout.readline()
        found = re.fullmatch(rf"serving \S+ {digest(PLAN)} on 127\.0\.0\.1:(\d+)\n", line)
        assert found, (folder / "log").read_text()
        yield process, int(found[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def folder(tmp_path):
    write_plan(tmp_path / "plan" / "plan.json", PLAN)
    write_weights(tmp_path / "plan" / "weights.safetensors", PLAN, WEIGHTS)
    return tmp_path


def events(folder, name):
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def descendants(pid):
    try:
        tasks = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
    found = [int(child) for text in tasks for child in text.split()]
    return found + [below for child in found for below in descendants(child)]


def wait_until(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def connect(port, store):
    return Client("127.0.0.1", port, protocol="delphi", store=store, insecure=True)


def home_of(folder, client):
    """The process that has its session. The log names clients by a hash; processes write it in any order."""
    name = hashlib.sha256(b"deepreduce client" + client.store.identity("127.0.0.1")).hexdigest()[:12]
    return [event["process"] for event in events(folder, "opened") if event["client"] == name][-1]


def test_clients_come_back_and_a_process_dies(folder):
    stores = [folder / f"client-{number}" for number in range(4)]
    with served(folder, "--store", folder / "server", "--workers", 1) as (supervisor, port):
        clients = [connect(port, store) for store in stores]
        for client in clients:
            client.prepare(3)
        wait_until(lambda: len(events(folder, "opened")) == 4)
        assert len({home_of(folder, client) for client in clients}) == 2  # who has fewer sessions accepts first
        for client in clients:
            client.close()
        # Each comes back twice, to any of the two, and finds what it has prepared.
        clients = [connect(port, store) for store in stores]
        for client in clients:
            assert client.prepared == 3
            assert np.array_equal(client.predict_integers(X), EXACT)
        wait_until(lambda: len(events(folder, "opened")) == 8)
        homes = [home_of(folder, client) for client in clients]
        assert len(set(homes)) == 2
        os.kill(homes[0], signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{homes[0]}").exists())
        for client, home in zip(clients, homes, strict=True):
            if home == homes[0]:
                with pytest.raises(SessionError):
                    client.predict_integers(X)
                client.reconnect()  # to the other one
            assert client.prepared == 2  # a session that is over is noticed before anything is burnt for it
            assert np.array_equal(client.predict_integers(X), EXACT)
        wait_until(lambda: len({event["process"] for event in events(folder, "serving")} - {supervisor.pid}) == 3)
        (dead,) = events(folder, "failed")
        assert (dead["reason"], dead["code"]) == ("process", -signal.SIGKILL)
        for client in clients:
            client.prepare(1)
            client.close()
        below = descendants(supervisor.pid)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(PATIENCE_S) == 0
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    with served(folder, "--store", folder / "server", "--workers", 0) as (supervisor, port):
        for store in stores:
            with connect(port, store) as client:
                assert client.prepared == 2
                assert np.array_equal(client.predict_integers(X), EXACT)
        below = descendants(supervisor.pid)
        supervisor.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))  # and its store is free


def test_what_cannot_be_started(folder):
    with served(folder, "--store", folder / "server", "--workers", 0) as (_, port):
        for options, message in [
            (("--listen", f"127.0.0.1:{port}"), "cannot listen"),
            (("--listen", "127.0.0.1:0", "--store", folder / "server"), "another server uses the store"),
        ]:
            (folder / "second").mkdir(exist_ok=True)
            write_plan(folder / "second" / "plan" / "plan.json", PLAN)
            write_weights(folder / "second" / "plan" / "weights.safetensors", PLAN, WEIGHTS)
            process = start(folder / "second", "--processes", 2, *options)
            assert process.wait(PATIENCE_S) != 0
            process.stdout.close()
            text = (folder / "second" / "log").read_text()
            assert message in text
            assert "Traceback" not in text
    process = start(folder, "--processes", 0)
    assert process.wait(PATIENCE_S) != 0
    process.stdout.close()
    assert "--processes is 0" in (folder / "log").read_text()


def test_a_busy_server_is_waited_for(folder):
    """Not by default; then the message is one line."""
    with served(folder, "--store", folder / "server", "--max-sessions", 1, "--workers", 0, processes=1) as (_, port):
        command = [sys.executable, "-m", "deepreduce", "predict", f"127.0.0.1:{port}", "--insecure", "--prepare", "1"]
        command += ["--store", str(folder / "client"), "--wait"]
        settings = {"capture_output": True, "text": True, "check": False, "timeout": PATIENCE_S}
        with connect(port, None):
            done = subprocess.run([*command, "0"], **settings)
            assert done.returncode != 0
            assert "the server is busy, try again in 5 s" in done.stderr
            assert "Traceback" not in done.stderr
            waiting = subprocess.Popen([*command, str(PATIENCE_S)], stderr=subprocess.PIPE, text=True)
            wait_until(lambda: len(events(folder, "refused")) == 2)
        assert "1 prepared" in waiting.communicate(timeout=PATIENCE_S)[1]
        assert waiting.returncode == 0
