"""A small network of every kind of step, which the targets of sessions share."""

from __future__ import annotations

import numpy as np

from deepreduce.plan import Relu
from deepreduce.plan.serialization import weight_tensors
from plan_samples import conv, plan_of

PLAN = plan_of(conv("c", "input", 2), Relu("r", ("c",), 4, 26, 2**20), conv("d", "r", 1))


def _weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {key: rng.integers(-99, 99, shape).astype(kind) for key, (kind, shape) in weight_tensors(PLAN).items()}


WEIGHTS = _weights()
X = np.random.default_rng(3).integers(-16, 16, (1, *PLAN.input_shape), np.int64)
