"""`serve` with several plans and with new versions of them: names, SIGHUP, broken folders, processes, workers."""

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
from deepreduce.export.folder import write_folder
from deepreduce.inference import Client
from deepreduce.plan import Relu, digest, run, weights_digest, write_plan, write_weights
from plan_samples import conv, plan_of, random_weights

PLANS = [
    plan_of(conv("c", "input", channels), Relu("r", ("c",), 4, 26, 2**20), conv("d", "r", 1)) for channels in (2, 3)
]
WEIGHTS = [random_weights(plan, np.random.default_rng(1), bits=7) for plan in PLANS]
X = np.random.default_rng(2).integers(-16, 16, (1, *PLANS[0].input_shape), np.int64)
EXACT = {digest(plan): run(plan, weights, X)["d"] for plan, weights in zip(PLANS, WEIGHTS, strict=True)}
OLD, NEW = EXACT
PATIENCE_S = 90.0


def put(folder, version):
    write_plan(folder / "plan.json", PLANS[version])
    write_weights(folder / "weights.safetensors", PLANS[version], WEIGHTS[version])
    facts = {"plan_digest": digest(PLANS[version]), "weights_digest": weights_digest(WEIGHTS[version])}
    (folder / "export.json").write_text(json.dumps(facts))


@contextmanager
def served(folder, *plans_and_options, lines=1):
    """(process, port, the lines that it printed) of a service that is ready."""
    arguments = ["serve", *plans_and_options, "--listen", "127.0.0.1:0", "--insecure", "--log", "json"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deepreduce", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=log, text=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            printed = [process.stdout.readline() for _ in range(lines)]
            found = re.fullmatch(r"serving \S+ [0-9a-f]{64} on 127\.0\.0\.1:(\d+)\n", printed[0])
            assert found, (folder / "log").read_text()
            yield process, int(found[1]), printed
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def events(folder, name, /, **fields):
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name and fields.items() <= line.items()]


def wait_for(folder, count, name, /, **fields):
    wait_until(lambda: len(events(folder, name, **fields)) >= count, folder)


def wait_until(true, folder):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)


def connect(port, **settings):
    return Client("127.0.0.1", port, protocol="delphi", insecure=True, **settings)


def answered(client):
    assert np.array_equal(client.predict_integers(X), EXACT[client.plan_digest])


def deepreduce(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "deepreduce", *map(str, arguments)], capture_output=True, text=True, check=False,
        timeout=60, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def children(pid):
    try:
        return [int(n) for task in Path(f"/proc/{pid}/task").iterdir() for n in (task / "children").read_text().split()]
    except OSError:
        return []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_new_version_while_a_session_is_open(tmp_path, workers):
    put(tmp_path / "plan", 0)
    with served(tmp_path, tmp_path / "plan", "--workers", workers) as (process, port, _), connect(port) as old:
        old.prepare(1)
        put(tmp_path / "plan", 1)
        process.send_signal(signal.SIGHUP)
        wait_for(tmp_path, 1, "configured", result="loaded", plan=NEW)
        with connect(port) as new:
            assert (old.plan_digest, new.plan_digest) == (OLD, NEW)
            new.prepare(1)
            answered(new)
        old.prepare(1)
        for _ in range(2):
            answered(old)
        with pytest.raises(SessionError, match="may have loaded another version"):
            old.reconnect()
        process.send_signal(signal.SIGHUP)  # nothing is new
        wait_for(tmp_path, 2, "configured", result="read again")
        time.sleep(0.5)
        assert len(events(tmp_path, "configured", result="loaded")) == 1
        assert not events(tmp_path, "failed")


BROKEN = {
    "no plan": lambda folder: (folder / "plan.json").unlink(),
    "half a plan": lambda folder: (folder / "plan.json").write_bytes((folder / "plan.json").read_bytes()[:100]),
    "no weights": lambda folder: (folder / "weights.safetensors").unlink(),
    "half the weights": lambda folder: os.truncate(folder / "weights.safetensors", 50),
    "weights of another export": lambda folder: write_weights(
        folder / "weights.safetensors", PLANS[0], random_weights(PLANS[0], np.random.default_rng(8), bits=7)
    ),
    "weights of another plan": lambda folder: write_weights(folder / "weights.safetensors", PLANS[1], WEIGHTS[1]),
    "no folder": lambda folder: folder.rename(folder.with_name("elsewhere")),
}


def test_a_folder_that_is_broken_leaves_the_old_plan_in_service(tmp_path):
    put(tmp_path / "plan", 0)
    with served(tmp_path, tmp_path / "plan", "--workers", 1) as (process, port, _):
        for number, break_it in enumerate(BROKEN.values(), 1):
            break_it(tmp_path / "plan")
            process.send_signal(signal.SIGHUP)
            wait_for(tmp_path, number, "failed", reason="reload")
            assert process.poll() is None
            with connect(port, mode="single") as client:
                assert client.plan_digest == OLD
                answered(client)
            put(tmp_path / "plan", 0)
        for line in events(tmp_path, "failed", reason="reload"):
            assert line["level"] == "error" and "the plan before stays in service" in line["text"]
        put(tmp_path / "plan", 1)
        process.send_signal(signal.SIGHUP)
        wait_for(tmp_path, 1, "configured", result="loaded", plan=NEW)
        with connect(port, mode="single") as client:
            answered(client)
            assert client.plan_digest == NEW


def test_processes_and_their_fork_servers(tmp_path):
    put(tmp_path / "plan", 0)
    store = ("--store", tmp_path / "store", "--store-key", tmp_path / "key")
    with served(tmp_path, tmp_path / "plan", "--processes", 2, "--workers", 2, *store) as (process, port, _):
        before = set(children(process.pid))
        olds = [connect(port) for _ in range(4)]
        for client in olds:
            client.prepare(1)
        assert len({event["process"] for event in events(tmp_path, "opened")}) == 2
        put(tmp_path / "plan", 1)
        process.send_signal(signal.SIGHUP)
        wait_for(tmp_path, 2, "configured", result="loaded", plan=NEW)
        (added,) = set(children(process.pid)) - before  # the new plan's fork server
        news = [connect(port) for _ in range(4)]
        for client, expected in [(client, OLD) for client in olds] + [(client, NEW) for client in news]:
            assert client.plan_digest == expected
            client.prepare(1)
            answered(client)
        assert before < set(children(process.pid))
        for client in olds:
            answered(client)
            client.close()
        wait_until(lambda: len(before - set(children(process.pid))) == 1, tmp_path)  # the old plan's fork server
        # A server process that dies comes back with the new plan, and finds its fork server.
        (first, second) = set(children(process.pid)) - {added}
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(set(children(process.pid)) - {added, first, second}) == 1, tmp_path)
        (again,) = set(children(process.pid)) - {added, first, second}
        wait_for(tmp_path, 1, "serving", process=again, plan=NEW)
        for client in news:
            client.close()
        with connect(port, mode="single") as client:
            assert client.plan_digest == NEW
            answered(client)
        # What the supervisor cannot read costs nothing, and neither does a fork server that dies.
        (tmp_path / "plan" / "plan.json").write_text("{")
        process.send_signal(signal.SIGHUP)
        wait_for(tmp_path, 3, "failed", reason="reload")
        os.kill(added, signal.SIGKILL)
        wait_until(lambda: added not in children(process.pid), tmp_path)
        wait_until(lambda: len(children(process.pid)) == 3, tmp_path)
        with connect(port, mode="single") as client:
            answered(client)
        below = children(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below), tmp_path)


@pytest.mark.parametrize("processes", [1, 2])
def test_plans_by_name(tmp_path, processes):
    for version, name in enumerate(("small", "large")):
        put(tmp_path / name, version)
    deepreduce("token", "alice", "--file", tmp_path / "tokens", "--out", tmp_path / "alice")
    plans = [f"{name}={tmp_path / name}" for name in ("small", "large")]
    options = ("--workers", 1, "--processes", processes, "--tokens", tmp_path / "tokens")
    np.save(tmp_path / "x.npy", np.zeros(PLANS[0].input_shape))
    with served(tmp_path, *plans, *options, lines=2) as (process, port, printed):
        assert [line.split()[1:3] for line in printed] == [[plans[0], OLD], [plans[1], NEW]]
        ask = (f"127.0.0.1:{port}", "--insecure", "--token-file", tmp_path / "alice")
        listed = json.loads(deepreduce("plans", *ask, "--json").stdout)
        assert [(one["name"], one["digest"]) for one in listed] == [("large", NEW), ("small", OLD)]
        shown = deepreduce("plans", *ask).stdout
        assert NEW[:12] in shown and "2x6x5" in shown and max(map(len, shown.splitlines())) <= 80
        for name, expected in (("small", OLD), ("large", NEW)):
            done = deepreduce("predict", *ask, tmp_path / "x.npy", "--plan", name, "--no-store", "--json")
            assert json.loads(done.stdout)["plan"] == expected
        done = deepreduce("predict", *ask, tmp_path / "x.npy", "--no-store", code=4)
        assert "name one with --plan; it has large, small" in done.stderr
        refused = deepreduce("plans", *ask[:2], code=4).stderr
        assert "access denied" in refused and "small" not in refused
        put(tmp_path / "small", 1)  # only one of them is new
        process.send_signal(signal.SIGHUP)
        wait_for(tmp_path, processes, "configured", result="loaded", name="small")
        assert not events(tmp_path, "configured", name="large")
        listed = json.loads(deepreduce("plans", *ask, "--json").stdout)
        assert [one["digest"] for one in listed] == [NEW, NEW]


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        (["a", "b"], "two plans have no name"),
        (["x=a", "x=b"], "two plans are called 'x'"),
        (["=a"], "neither a folder nor NAME=FOLDER"),
        (["x="], "neither a folder nor NAME=FOLDER"),
        (["a b=c"], "cannot name a plan"),
        (["x=nowhere"], "nowhere is not a plan folder"),
    ],
)
def test_names_that_are_refused(plans, message):
    done = deepreduce("serve", *plans, "--insecure", code=2)
    assert message in done.stderr


def test_an_export_in_place_is_whole_or_refused(tmp_path):
    """As `export` writes into a folder that is served."""
    put(tmp_path / "plan", 0)
    with served(tmp_path, tmp_path / "plan", "--workers", 0) as (process, port, _):
        facts = {"plan_digest": NEW, "weights_digest": weights_digest(WEIGHTS[1])}
        write_folder(tmp_path / "plan", PLANS[1], WEIGHTS[1], facts)
        process.send_signal(signal.SIGHUP)
        wait_for(tmp_path, 1, "configured", result="loaded", plan=NEW, weights=facts["weights_digest"])
        with connect(port, mode="single") as client:
            answered(client)
