"""Both parties over a real socket, and what a test wants to know about it."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from deepreduce.plan import predict
from deepreduce.private import Client, Server


@contextmanager
def serving(plan, weights, **settings):
    """A server in a thread; yields (server, port)."""
    with Server(plan, weights, **settings) as server:
        port = server.listen()
        server.start()
        yield server, port


def ask(port, x, *, prepare=1, **settings):
    """One session: prepares, predicts, returns (answer, client)."""
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
