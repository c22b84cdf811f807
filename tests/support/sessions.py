"""Both parties over a real socket, and what a test wants to know about it."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from deepreduce.inference import Client, Server, ServerSettings
from deepreduce.plan import Relu, predict
from deepreduce.plan.serialization import weight_tensors
from plan_samples import conv, plan_of


@contextmanager
def serving(plan, weights, **settings):
    """A server in a thread, on plain TCP unless TLS is given; yields (server, port)."""
    told = {name: settings.pop(name) for name in ("name", "observers", "on_run") if name in settings}
    settings.setdefault("insecure", settings.get("tls") is None)
    with Server(plan, weights, ServerSettings(**settings), **told) as server:
        port = server.listen()
        server.start()
        yield server, port


def ask(port, x, *, prepare=1, **settings):
    """One session: prepares, predicts, returns (answer, client)."""
    settings.setdefault("insecure", settings.get("tls") is None)
    with Client("127.0.0.1", port, batch=len(x), **settings) as client:
        client.prepare(prepare)
        return client.predict_integers(x), client


def differences(client, protocol, batch):
    """What was sent other than predicted: empty when the prediction is right."""
    predicted = predict(client.plan, protocol, batch)
    found = []
    for phase in ("offline", "online"):
        measured = getattr(client.runs[-1], phase)
        for name, cost in predicted.ops.items():
            expected, seen = getattr(cost, phase), measured.ops[name]
            if (seen.sent_bytes, seen.received_bytes) != (expected.up_bytes, expected.down_bytes):
                found.append((phase, name, seen, expected))
        expected = getattr(predicted.total, phase)
        seen = (measured.sent_bytes, measured.received_bytes, measured.rounds)
        if seen != (expected.up_bytes, expected.down_bytes, expected.rounds):
            found.append((phase, "total", seen, expected))
    return found


def image(plan, rng, batch=1, bound=16):
    return rng.integers(-bound, bound, (batch, *plan.input_shape), np.int64)


# A small plan that the tests of faults and limits share.
TIMEOUT_S = 2.0

PLAN = plan_of(conv("c", "input", 2), Relu("r", ("c",), 4, 26, 2**20), conv("d", "r", 1))


def weights_of(plan, seed=0):
    rng = np.random.default_rng(seed)
    return {key: rng.integers(-99, 99, shape).astype(dtype) for key, (dtype, shape) in weight_tensors(plan).items()}


WEIGHTS = weights_of(PLAN)
X = image(PLAN, np.random.default_rng(3))
