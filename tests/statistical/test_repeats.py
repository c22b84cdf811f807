"""One image, asked again and again: the client's own random bits must tell it nothing about the answers.

A ReLU that rounds by the client's share (as a removed protocol did) makes RESULT a linear function of bits that the
client knows, and a regression gives it the weights behind. The same regression must find nothing here, and find a
planted coin.
"""

from contextlib import contextmanager
from unittest.mock import patch

import numpy as np

from deepreduce.inference import Client
from deepreduce.inference.protocol.nonlinear.table_client import TableClient
from deepreduce.inference.protocol.nonlinear.table_server import TableServer
from deepreduce.plan import Flatten, Linear, Relu, run
from plan_samples import conv, plan_of, random_weights
from sessions import serving

SHIFT, BATCH, PREDICTIONS = 6, 256, 6
PLAN = plan_of(
    conv("c", "input", 2),
    Relu("r", ("c",), SHIFT, 26, 2**20),
    Flatten("f", ("r",)),
    Linear("l", ("f",), 3, True, 8, 4),
    input_shape=(1, 3, 3),
)
UNITS = 18
WEIGHTS = random_weights(PLAN, np.random.default_rng(0), bits=7)
X = np.random.default_rng(1).integers(-300, 300, (1, *PLAN.input_shape), np.int64)


@contextmanager
def knowing_its_shares():
    """The client's shares of the ReLU's operands, one array for each preparation."""
    choose, shares = TableClient.choose, []

    def noting(self, chunk, own, ot):
        shares.append(own.copy())
        return choose(self, chunk, own, ot)

    with patch.object(TableClient, "choose", noting):
        yield shares


def repeat():
    """The client's low bits [runs, units] and the answers [runs, 3] to one image."""
    x = np.repeat(X, BATCH, axis=0)
    answers, low = [], []
    with (
        knowing_its_shares() as shares,
        serving(PLAN, WEIGHTS) as (_, port),
        Client("127.0.0.1", port, batch=BATCH, insecure=True) as client,
    ):
        for _ in range(PREDICTIONS):
            shares.clear()
            client.prepare(1)
            answers.append(client.predict_integers(x).reshape(BATCH, -1))
            own = np.concatenate(shares)[: BATCH * UNITS].reshape(BATCH, UNITS)
            low.append(own & np.uint64(2**SHIFT - 1))
    return np.concatenate(low).astype(float), np.concatenate(answers).astype(float)


def strongest(low, answers):
    """The largest |t| of a regression of each answer on the low bits; 0 where an answer is constant."""
    design = np.column_stack([low - low.mean(0), np.ones(len(low))])
    inverse = np.linalg.inv(design.T @ design)
    found = 0.0
    for answer in answers.T:
        if np.ptp(answer) == 0:
            continue
        coefficients = inverse @ design.T @ answer
        spread = np.std(answer - design @ coefficients, ddof=design.shape[1])
        found = max(found, float(np.abs(coefficients[:-1] / (spread * np.sqrt(np.diag(inverse)[:-1]))).max()))
    return found


def test_repeats_tell_nothing():
    low, answers = repeat()
    assert (np.ptp(low, axis=0) > 0).all()
    assert strongest(low, answers) == 0
    assert np.array_equal(answers, np.repeat(run(PLAN, WEIGHTS, X)["l"].reshape(1, -1), len(answers), axis=0))


def test_a_planted_coin_is_found():
    """Rounding up where 0 < a_l <= y_l, as `fused` did: the regression must find it."""
    y = run(PLAN, WEIGHTS, X)["c"].reshape(-1)
    choose, receive, known = TableClient.choose, TableServer.receive, {}

    def noting(self, chunk, own, ot):
        known[chunk.first] = own.copy()
        return choose(self, chunk, own, ot)

    def with_a_coin(self, number, chunk, shares, content):
        result = receive(self, number, chunk, shares, content)
        if result is None:
            return None
        at = np.arange(chunk.first, chunk.first + chunk.padded) % UNITS
        low, low_y = known[chunk.first] & np.uint64(2**SHIFT - 1), (y[at] & (2**SHIFT - 1)).astype(np.uint64)
        coin = (low > 0) & (low <= low_y) & (y[at] > 0)
        return (result + coin.astype(np.uint64)) & np.uint64(2**self.vector.ring_bits - 1)

    with patch.object(TableClient, "choose", noting), patch.object(TableServer, "receive", with_a_coin):
        low, answers = repeat()
    assert strongest(low, answers) > 10
