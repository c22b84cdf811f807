"""The network of all runs: tiny, with every kind of op that sends something, in six rounds or fewer."""

from __future__ import annotations

import hashlib

import numpy as np

from deepreduce.plan import Flatten, Linear, MaxPool, Relu, Rescale, encode, run
from plan_samples import conv, plan_of, random_weights

PLAN = plan_of(
    conv("conv", "input", 2),
    Relu("relu", ("conv",), 4, 26, 2**18),
    MaxPool("pool", ("relu",), (2, 2), (2, 2), (0,) * 4, 26, 2**18),
    Rescale("rescale", ("pool",), 2, 2**18),
    Flatten("flat", ("rescale",)),
    Linear("linear", ("flat",), 3, True, 8, 4),
    input_shape=(1, 4, 4),
)
DIGEST = hashlib.sha256(encode(PLAN)).hexdigest()
WEIGHTS = random_weights(PLAN, np.random.default_rng(0), bits=7)
X = np.random.default_rng(1).integers(-16, 16, (1, *PLAN.input_shape), np.int64)
EXACT = run(PLAN, WEIGHTS, X)["linear"]


def is_right(y: np.ndarray) -> bool:
    """Whether an answer is the integer reference's, bit for bit."""
    return bool(np.array_equal(y, EXACT))
