"""What a server lends and tells: rates, memory, events, the page of counters."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from deepreduce.inference import Client
from deepreduce.inference.server.events import JsonLines, emit
from deepreduce.inference.server.limits import MemoryBudget, RateLimit, free_memory, rated
from deepreduce.inference.transport.errors import BusyError
from deepreduce.plan import PARAMETER_SETS, packings, run
from deepreduce.plan.execution.packing import cached_ops, transformed_bytes
from plan_samples import conv, plan_of
from sessions import PLAN, TIMEOUT_S, WEIGHTS, X, serving


def test_a_bucket_fills_evenly():
    now = [0.0]
    rate = RateLimit(6, lambda: now[0])
    assert [rate.take("a") for _ in range(7)] == [True] * 6 + [False]
    assert rate.take("b")
    now[0] = 9.9
    assert not rate.take("a")
    now[0] = 21.0
    assert [rate.take("a") for _ in range(3)] == [True, True, False]
    now[0] = 1e6
    assert [rate.take("a") for _ in range(7)] == [True] * 6 + [False]  # no more than a minute is saved up
    assert all(RateLimit(None).take("a") for _ in range(1000))


def test_a_host_has_one_rate():
    assert rated("192.0.2.1") != rated("192.0.2.2")
    assert rated("2001:db8::1") == rated("2001:db8::ffff:2") != rated("2001:db8:0:1::1")
    assert rated("fe80::1%eth0") == rated("fe80::2%eth0")
    assert rated("odd") == "odd"


def test_memory_is_given_back():
    memory = MemoryBudget(10)
    memory.book(7)
    with pytest.raises(BusyError):
        memory.book(4)
    memory.release(7)
    memory.book(10)


def test_free_memory_is_that_of_machine_and_group():
    """Never more than the machine has, and more than this test needs."""
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 1 << 24 < free_memory() < total


def test_weights_that_are_used_most_are_kept():
    """Within the bytes that are allowed; at a server that keeps none the answers are the same."""
    plan = plan_of(conv("wide", "input", 8), conv("flat", "wide", 64, stride=5), input_shape=(2, 96, 96))
    packed, parameters = packings(plan), PARAMETER_SETS[plan.parameter_set]
    sizes = {name: transformed_bytes(packing, parameters) for name, packing in packed.items()}
    assert packed["wide"].tiles > packed["flat"].tiles
    assert cached_ops(packed, parameters, sum(sizes.values())) == {"wide", "flat"}
    assert cached_ops(packed, parameters, sizes["wide"]) == {"wide"}
    assert cached_ops(packed, parameters, 0) == set()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_server_that_keeps_no_weights(workers):
    exact = run(PLAN, WEIGHTS, X)["d"]
    with (
        serving(PLAN, WEIGHTS, max_weight_bytes=0, workers=workers) as (_, port),
        Client("127.0.0.1", port, mode="single", timeout_s=TIMEOUT_S, insecure=True) as client,
    ):
        assert np.array_equal(client.predict_integers(X), exact)


def test_events_are_lines_of_json(caplog):
    caplog.set_level(logging.INFO, "deepreduce")
    seen = []
    emit("refused", (lambda name, fields: seen.append((name, fields)),), address="::1", reason="limit", client=None)
    logging.getLogger("deepreduce.server").warning("plain\n%s", "text")
    event, message = (json.loads(JsonLines().format(record)) for record in caplog.records)
    assert (event["level"], event["event"], event["address"], event["reason"]) == ("warning", "refused", "::1", "limit")
    assert "client" not in event
    assert (message["event"], message["text"]) == ("message", "plain\ntext")
    assert "\n" not in JsonLines().format(caplog.records[1])
    assert seen == [("refused", {"address": "::1", "reason": "limit"})]
