"""A stand-in for `deepreduce.export.export_point`: the point's structure with random weights, in a fraction of a second."""

from dataclasses import dataclass

import numpy as np

from deepreduce.errors import ModelError
from deepreduce.export import calibrate, lower
from deepreduce.export.random import random_images, random_weights
from deepreduce.plan import Conv, FixedPoint, Linear, Plan, write_plan, write_weights


@dataclass(frozen=True)
class FakeExported:
    plan: Plan
    weights: dict
    convs_before: int
    convs_after: int

    def write(self, folder):
        return [
            write_plan(folder / "plan.json", self.plan),
            write_weights(folder / "weights.safetensors", self.plan, self.weights),
        ]


class FakeExport:
    """Counts its calls; a point named in ``refused`` cannot be exported."""

    def __init__(self, refused=()):
        self.calls, self.refused = [], set(refused)

    def __call__(self, frontier, name, evaluate=0, merge=True):
        self.calls.append(name)
        if name in self.refused:
            raise ModelError(f"{name}: an op that no plan has", "train with another")
        lowered = lower(frontier.module(name))
        rng = np.random.default_rng(0)
        ring, weights = FixedPoint(32, 8), random_weights(lowered, rng)
        images = np.rint(np.ldexp(random_images(lowered.input_shape, rng, 2), ring.input_fraction)).astype(np.int64)
        plan = calibrate(lowered, weights, images, ring)
        convs = sum(isinstance(op, Conv | Linear) for op in plan.ops)
        return FakeExported(plan, weights, convs, convs)
