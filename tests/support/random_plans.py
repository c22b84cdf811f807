"""Random valid plans with weights: shortcuts, projections, branches, pools, kept subsets, groups; tiny, any ring.

No image of `random_input` can leave a window: each tensor carries a bound that holds for all of them (interval
arithmetic, from the weights that were drawn), and ops are only drawn where it fits. Peaks are calibrated by running the
reference, as they are for trained networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from deepreduce.plan import (
    PARAMETER_SETS,
    VERSION,
    Add,
    AvgPool,
    Concat,
    Conv,
    FixedPoint,
    Flatten,
    Linear,
    MaxPool,
    Plan,
    Relu,
    Rescale,
    pack_kept,
    validate,
)
from deepreduce.plan.reference import apply, exact_nonlinear, wrap
from deepreduce.plan.schema import INPUT
from deepreduce.plan.shapes import fractions, shape_of
from deepreduce.plan.validation import MAX_FRACTION, weight_shape

CALIBRATION_IMAGES = 8
MAX_ELEMENTS = 400


@dataclass
class Tensor:
    """A value while the plan grows."""

    name: str
    shape: tuple[int, ...]
    fraction: int
    bound: int  # of the magnitude, for every image
    values: np.ndarray  # on the calibration images


@dataclass
class Builder:
    rng: np.random.Generator
    ring_bits: int
    ops: list = field(default_factory=list)
    weights: dict = field(default_factory=dict)

    @property
    def limit(self) -> int:
        """Bound of every tensor: an Add of two still fits the ring, a Rescale still has its margin."""
        return max(1, 2 ** (self.ring_bits - 4) - 1)

    def pick(self, *options):
        return options[self.rng.integers(len(options))]

    def add(self, kind, operands: list[Tensor], bound: int, gain: int = 0, **values) -> Tensor:
        op = kind(f"{kind.__name__.lower()}{len(self.ops)}", tuple(t.name for t in operands), **values)
        return self.add_op(op, operands, bound, gain)

    def add_op(self, op, operands: list[Tensor], bound: int, gain: int = 0) -> Tensor:
        self.ops.append(op)
        result = apply(op, [t.values for t in operands], self.weights, self.ring_bits, exact_nonlinear)
        assert np.abs(result).max() <= bound <= self.limit
        shape = shape_of(op, [t.shape for t in operands])
        return Tensor(op.name, shape, operands[0].fraction + gain, bound, result)

    def linear(self, x: Tensor, **fixed) -> Tensor:
        """A Conv or, on features, a Linear; weights are halved until the bound fits."""
        bits, gain = int(self.rng.integers(2, 13)), int(fixed.pop("gain", self.rng.integers(0, 4)))
        name, rng = f"linear{len(self.ops)}", self.rng
        common = {"bias": bool(rng.integers(2)), "weight_bits": bits, "weight_fraction": gain}
        if len(x.shape) == 1:
            op = Linear(name, (x.name,), int(rng.integers(1, 6)), **common)
        else:
            groups = int(self.pick(*[g for g in range(1, x.shape[0] + 1) if x.shape[0] % g == 0]))
            values = {
                "out_channels": groups * int(rng.integers(1, 4)),
                "padding": tuple(int(p) for p in rng.integers(0, 3, 4)),
                "stride": tuple(int(s) for s in rng.integers(1, 4, 2)),
                "groups": groups,
            } | fixed
            if "kernel" not in values:
                top, bottom, left, right = values["padding"]
                room = (min(4, x.shape[1] + top + bottom), min(4, x.shape[2] + left + right))
                values["kernel"] = tuple(int(rng.integers(1, r + 1)) for r in room)
            op = Conv(name, (x.name,), **values, **common)
        weight = rng.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), weight_shape(op, x.shape))
        bias = rng.integers(-(self.limit // 4), self.limit // 4 + 1, len(weight)) if op.bias else np.zeros(1, np.int64)

        def bound():
            sums = np.abs(weight).reshape(len(weight), -1).sum(axis=1)
            return max(int(s) * x.bound for s in sums) + int(np.abs(bias).max())

        while bound() > self.limit:
            weight = np.trunc(weight / 2).astype(np.int64)
        self.weights[f"{name}.weight"] = weight.astype(np.int16)
        if op.bias:
            self.weights[f"{name}.bias"] = bias.astype(np.int64)
        return self.add_op(op, [x], bound(), gain)

    def relu(self, x: Tensor, shift: int | None = None) -> Tensor | None:
        """A ReLU, of a subset of the elements in one case out of two; None where no window is wide enough."""
        peak = int(np.abs(x.values).max())
        shifts = [shift] if shift is not None else list(range(max(1, x.bound.bit_length())))
        shift = int(self.pick(*shifts))
        windows = [m for m in range(shift + 1, self.ring_bits + 1) if x.bound <= 2 ** (m - 1) - 2**shift]
        windows = [m for m in windows if 4 * peak <= 2 ** (m - 1) - 2**shift]
        if not windows or shift > self.ring_bits - 2:
            return None
        mask = self.rng.random(prod(x.shape)) < self.rng.random()
        some = mask.any() and not mask.all() and (shift == 0 or self.rescalable(peak, shift))
        kept = pack_kept(mask) if self.rng.integers(2) and some else None
        window = int(self.pick(windows[0], self.ring_bits, self.pick(*windows)))
        bound = (x.bound >> shift) + (shift > 0)  # a protocol may round up where the reference rounds down
        return self.add(Relu, [x], bound, -shift, shift=shift, window=window, peak=peak, kept=kept)

    def rescalable(self, peak: int, shift: int) -> bool:
        """Whether the rule for a Rescale's peak holds."""
        return 4 * peak <= 2 ** (self.ring_bits - 2) - 2 ** max(0, shift)

    def rescale(self, x: Tensor, shift: int) -> Tensor:
        peak = int(np.abs(x.values).max())
        bound = (x.bound >> shift) + 1 if shift > 0 else x.bound << -shift
        return self.add(Rescale, [x], min(bound, self.limit) if shift > 0 else bound, -shift, shift=shift, peak=peak)

    def at_fraction(self, x: Tensor, fraction: int) -> Tensor | None:
        """``x`` at another scale, or None where that does not fit."""
        shift = x.fraction - fraction
        if shift == 0:
            return x
        peak = int(np.abs(x.values).max()) << max(0, -shift)
        room = x.bound << max(0, -shift) <= self.limit and abs(shift) <= self.ring_bits - 2
        return self.rescale(x, shift) if room and self.rescalable(peak, shift) else None

    def pool(self, x: Tensor, kind) -> Tensor | None:
        kernel = tuple(int(self.rng.integers(1, min(3, side) + 1)) for side in x.shape[1:])
        padding = tuple(int(self.rng.integers(0, kernel[i // 2])) for i in range(4))
        stride = tuple(int(s) for s in self.rng.integers(1, 3, 2))
        values = {"kernel": kernel, "padding": padding, "stride": stride}
        if kind is AvgPool:
            bound = x.bound * prod(kernel)
            return self.add(AvgPool, [x], bound, **values) if bound <= self.limit else None
        peak = int(np.abs(x.values).max())
        windows = [m for m in range(1, self.ring_bits + 1) if max(2 * x.bound, 8 * peak) <= 2 ** (m - 1) - 1]
        if not windows:
            return None
        window = int(self.pick(windows[0], self.ring_bits))
        return self.add(MaxPool, [x], x.bound, **values, window=window, peak=peak)

    def merge(self, x: Tensor, others: list[Tensor]) -> Tensor | None:
        """An Add or Concat of ``x`` with an earlier tensor (or itself), brought to its scale, projected if need be."""
        y = self.pick(*[t for t in others if len(t.shape) == len(x.shape)])
        if (
            y.shape != x.shape
            and len(x.shape) == 3
            and all(a >= b for a, b in zip(y.shape[1:], x.shape[1:], strict=True))
        ):
            kernel = tuple(a - b + 1 for a, b in zip(y.shape[1:], x.shape[1:], strict=True))
            y = self.linear(y, kernel=kernel, stride=(1, 1), padding=(0,) * 4, groups=1, out_channels=x.shape[0])
        aligned = self.at_fraction(y, x.fraction)
        if aligned is None:
            return None
        if aligned.shape == x.shape and x.bound + aligned.bound <= self.limit and self.rng.integers(3):
            return self.add(Add, [x, aligned], x.bound + aligned.bound)
        if aligned.shape[1:] == x.shape[1:] and x.shape[0] + aligned.shape[0] <= 16:
            return self.add(Concat, [aligned, x], max(x.bound, aligned.bound))
        return None


def random_plan(rng: np.random.Generator, ring_bits: int, steps: int = 8) -> tuple[Plan, dict[str, np.ndarray]]:
    """A valid plan of about ``steps`` ops over Z_2^ring_bits (at least 6) and its weights.

    Any image of `random_input` stays inside every window.
    """
    build = Builder(rng, ring_bits)
    input_shape = (int(rng.integers(1, 5)), int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    bare = Plan(
        VERSION,
        FixedPoint(ring_bits, int(rng.integers(0, 4))),
        input_shape,
        (),
        INPUT,
        next(p.name for p in PARAMETER_SETS.values() if ring_bits <= p.max_ring_bits),
    )
    x = Tensor(
        INPUT, input_shape, bare.ring.input_fraction, input_peak(ring_bits), random_input(rng, bare, CALIBRATION_IMAGES)
    )
    seen = [x]
    for _ in range(steps):
        grown = _step(build, x, seen)
        if grown is not None and prod(grown.shape) <= MAX_ELEMENTS:
            x = grown
            seen.append(x)
    if x.name == INPUT:
        x = build.linear(x)
    plan = replace(bare, ops=_needed(build.ops, x.name), output=x.name)
    if any(abs(fraction) > MAX_FRACTION for fraction in fractions(plan).values()):
        return random_plan(rng, ring_bits, steps)  # negative shifts have added up: drawn again
    validate(plan)
    names = {op.name for op in plan.ops}
    return plan, {key: w for key, w in build.weights.items() if key.rpartition(".")[0] in names}


def plan_with_mask(ring_bits: int = 32) -> tuple[Plan, dict[str, np.ndarray]]:
    """One fixed plan in which a ReLU keeps a subset and a linear op has a bias."""
    for seed in range(1000):
        plan, weights = random_plan(np.random.default_rng(seed), ring_bits)
        if any(isinstance(op, Relu) and op.kept for op in plan.ops) and any(k.endswith(".bias") for k in weights):
            return plan, weights
    raise AssertionError("no such plan in 1000")


def input_peak(ring_bits: int) -> int:
    return 2 ** max(1, min(8, ring_bits // 2 - 2)) - 1


def random_input(rng: np.random.Generator, plan: Plan, batch: int) -> np.ndarray:
    """Images [batch, C, H, W] int64 for a plan of `random_plan`."""
    peak = input_peak(plan.ring.ring_bits)
    return wrap(rng.integers(-peak, peak + 1, (batch, *plan.input_shape)), plan.ring.ring_bits)


def _step(build: Builder, x: Tensor, seen: list[Tensor]) -> Tensor | None:
    choices = ["linear", "relu", "relu", "merge", "rescale", "branch"]
    if len(x.shape) == 3:
        choices += ["linear", "max", "average", "flatten"]
    match build.pick(*choices):
        case "linear":
            return build.linear(x)
        case "relu":
            return build.relu(x)
        case "merge":
            return build.merge(x, seen)
        case "rescale":
            return build.at_fraction(x, x.fraction + int(build.rng.integers(-3, 3)))
        case "branch":  # a residual unit: x + relu(linear(x)), the branch brought to the shape and scale of x
            fixed = {} if len(x.shape) == 1 else {"kernel": (3, 3), "stride": (1, 1), "padding": (1,) * 4}
            branch = build.relu(
                build.linear(x, out_channels=x.shape[0], groups=1, **fixed) if fixed else build.linear(x)
            )
            return None if branch is None else build.merge(branch, [x])
        case "max":
            return build.pool(x, MaxPool)
        case "average":
            return build.pool(x, AvgPool)
        case _:
            return build.add(Flatten, [x], x.bound)


def _needed(ops: list, output: str) -> tuple:
    """The ops that the output depends on."""
    wanted, kept = {output}, []
    for op in reversed(ops):
        if op.name in wanted:
            wanted.update(op.inputs)
            kept.append(op)
    return tuple(reversed(kept))
