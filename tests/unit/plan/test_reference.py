"""The reference interpreter against Python integers in nested loops: no numpy arithmetic, no limbs, no tournament."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from deepreduce.errors import PlanError
from deepreduce.plan import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    Linear,
    MaxPool,
    Relu,
    Rescale,
    decode_output,
    encode_input,
    pack_kept,
    run,
    tournament,
    validate,
)
from deepreduce.plan.execution.maxpool import pairs_per_level
from deepreduce.plan.reference import apply, exact_nonlinear, wrap
from plan_samples import conv, plan_of, random_weights, resnet18
from random_plans import random_input, random_plan

RINGS = [2, 24, 32, 37, 41, 48, 53, 63, 64]


def signed(value, ring_bits):
    value %= 2**ring_bits
    return value - 2**ring_bits if value >= 2 ** (ring_bits - 1) else value


def taps(op, shape):
    """Output position -> the (kernel position, input position) pairs that lie on the map."""
    _, height, width = shape
    top, bottom, left, right = op.padding
    found = {}
    for i in range((height + top + bottom - op.kernel[0]) // op.stride[0] + 1):
        for k in range((width + left + right - op.kernel[1]) // op.stride[1] + 1):
            found[i, k] = []
            for u, v in product(range(op.kernel[0]), range(op.kernel[1])):
                row, column = i * op.stride[0] + u - top, k * op.stride[1] + v - left
                if 0 <= row < height and 0 <= column < width:
                    found[i, k].append((u, v, row, column))
    return found


def literal(op, operands, weights, ring_bits):
    """One op on nested lists' worth of Python integers; operands and result are object arrays of one image."""
    x = operands[0]
    match op:
        case Conv():
            weight, bias = weights[f"{op.name}.weight"], weights.get(f"{op.name}.bias")
            at = taps(op, x.shape)
            y = np.zeros((op.out_channels, max(at)[0] + 1, max(at)[1] + 1), dtype=object)
            depth, group = x.shape[0] // op.groups, op.out_channels // op.groups
            for o, (i, k) in product(range(op.out_channels), at):
                y[o, i, k] = int(bias[o]) if op.bias else 0
                for c, (u, v, row, column) in product(range(depth), at[i, k]):
                    y[o, i, k] += int(weight[o, c, u, v]) * x[o // group * depth + c, row, column]
        case Linear():
            weight, bias = weights[f"{op.name}.weight"], weights.get(f"{op.name}.bias")
            y = np.zeros(op.out_features, dtype=object)
            for o in range(op.out_features):
                y[o] = sum(int(weight[o, c]) * x[c] for c in range(len(x))) + (int(bias[o]) if op.bias else 0)
        case AvgPool() | MaxPool():
            at = taps(op, x.shape)
            y = np.zeros((x.shape[0], max(at)[0] + 1, max(at)[1] + 1), dtype=object)
            for c, (i, k) in product(range(x.shape[0]), at):
                seen = [x[c, row, column] for _, _, row, column in at[i, k]]
                y[c, i, k] = sum(seen) if isinstance(op, AvgPool) else max(seen)
        case Add():
            y = sum(operands)
        case Concat():
            y = np.concatenate(operands)
        case Flatten():
            y = x.reshape(-1)
        case Relu():
            kept = [True] * x.size if op.kept is None else [b == "1" for byte in op.kept for b in f"{byte:08b}"]
            flat = [(max(0, v) if keep else v) // 2**op.shift for v, keep in zip(x.ravel(), kept, strict=False)]
            y = np.array(flat, dtype=object).reshape(x.shape)
        case Rescale():
            y = x // 2**op.shift if op.shift >= 0 else x * 2**-op.shift
    return np.vectorize(lambda v: signed(int(v), ring_bits), otypes=[object])(y)


def as_objects(array):
    return np.array(array.tolist(), dtype=object)


@pytest.mark.parametrize("ring_bits", RINGS)
@pytest.mark.parametrize(
    "op",
    [
        conv("c", "input", 4),
        conv("c", "input", 6, 3, 2, groups=2),
        conv("c", "input", 3, 2, 3, padding=0, bias=False),
        Conv("c", ("input",), 2, (2, 3), (3, 1), (2, 0, 1, 3), 1, True, 12, 0),
        Linear("c", ("input",), 5, True, 12, 3),
        AvgPool("c", ("input",), (2, 3), (1, 2), (1, 0, 0, 2)),
        Rescale("c", ("input",), -1, 0),
    ],
    ids=lambda op: type(op).__name__,
)
def test_linear_ops_wrap_as_integers_do(op, ring_bits):
    """Operands and weights over their whole range, extremes included."""
    rng = np.random.default_rng(ring_bits)
    shape = (7,) if isinstance(op, Linear) else (2, 5, 6)
    x = wrap(rng.integers(-(2**63), 2**63, (2, *shape), dtype=np.int64, endpoint=False), ring_bits)
    x.reshape(-1)[:4] = (2 ** (ring_bits - 1) - 1, -(2 ** (ring_bits - 1)), -1, 0)
    before = [Flatten("input0", ("input",))] if isinstance(op, Linear) else []
    inner = replace(op, inputs=("input0",)) if before else op
    plan = plan_of(*before, inner, input_shape=(7, 1, 1) if before else shape, ring_bits=ring_bits)
    weights = random_weights(plan, rng)
    for name in weights:
        weights[name].reshape(-1)[:2] = 2047, -2047
    y = apply(op, [x], weights, ring_bits, exact_nonlinear)
    for image in range(2):
        assert y[image].tolist() == literal(op, [as_objects(x[image])], weights, ring_bits).tolist()


@pytest.mark.parametrize("seed", range(40))
def test_random_plans(seed):
    rng = np.random.default_rng(seed)
    ring_bits = int(rng.choice([8, *RINGS[1:]]))
    plan, weights = random_plan(rng, ring_bits)
    x = random_input(rng, plan, 2)
    values = run(plan, weights, x)
    for image in range(2):
        expected = {"input": as_objects(x[image])}
        for op in plan.ops:
            expected[op.name] = literal(op, [expected[name] for name in op.inputs], weights, ring_bits)
            assert values[op.name][image].tolist() == expected[op.name].tolist(), op


def test_random_plans_keep_their_promise():
    """Images that took no part in calibration stay inside every window, and all kinds of op are drawn."""
    kinds = set()
    for seed in range(60):
        rng = np.random.default_rng(1000 + seed)
        plan, weights = random_plan(rng, int(rng.integers(6, 65)))
        values = run(plan, weights, random_input(rng, plan, 16))
        for op in plan.ops:
            kinds.add((type(op).__name__, getattr(op, "kept", None) is not None))
            largest = int(np.abs(values[op.inputs[0]]).max())
            if isinstance(op, Relu):
                assert largest <= 2 ** (op.window - 1) - 2**op.shift
            if isinstance(op, MaxPool):
                assert 2 * largest <= 2 ** (op.window - 1) - 1
            if isinstance(op, Rescale):
                assert largest < 2 ** (plan.ring.ring_bits - 2)
    assert {name for name, _ in kinds} == {
        "Conv", "Linear", "Add", "Concat", "AvgPool", "MaxPool", "Relu", "Rescale", "Flatten",
    }  # fmt: skip
    assert ("Relu", True) in kinds


@pytest.mark.parametrize("channels", [1, 3])
def test_limbs_are_exact_at_full_depth(channels):
    """All partial sums at their largest: every weight and every limb at its extreme."""
    op = conv("c", "input", 2, 7, padding=0, bias=False)
    for value in (-1, 2**63 - 1, -(2**63)):
        x = np.full((1, channels, 7, 7), value, dtype=np.int64)
        weight = np.full((2, channels, 7, 7), 2047, dtype=np.int16)
        weight[1] = -2047
        y = apply(op, [x], {"c.weight": weight}, 64, exact_nonlinear)
        assert y.ravel().tolist() == [signed(s * 2047 * 49 * channels * value, 64) for s in (1, -1)]


def test_nonlinear_may_be_replaced():
    plan = plan_of(
        conv("c", "input", 4),
        Relu("r", ("c",), 2, 20, 10),
        MaxPool("m", ("r",), (2, 2), (2, 2), (0,) * 4, 16, 5),
        Rescale("s", ("m",), 1, 5),
        Rescale("t", ("s",), -1, 5),
    )
    validate(plan)
    seen = []

    def hook(op, y):
        seen.append((op.name, y.shape))
        return exact_nonlinear(op, y) + (op.name == "s")

    weights = random_weights(plan, np.random.default_rng(0))
    x = random_input(np.random.default_rng(1), plan, 3)
    hooked, exact = run(plan, weights, x, hook), run(plan, weights, x)
    assert seen == [("r", (3, 4, 6, 5)), ("m", (3, 48)), ("m", (3, 24)), ("s", (3, 4, 3, 2))]
    assert np.array_equal(hooked["s"], exact["s"] + 1)


def test_input_of_another_shape_is_refused():
    with pytest.raises(PlanError, match="shape"):
        run(plan_of(AvgPool("p", ("input",), (1, 1), (1, 1), (0,) * 4)), {}, np.zeros((1, 2, 5, 6), np.int64))


def test_encode_rounds_to_nearest_and_decode_inverts():
    plan = plan_of(conv("c", "input", 4, fraction=3), ring_bits=16)  # 4 fractional bits in, 7 out
    x = np.array([0.0, 1.0, -1.0, 0.03124, 0.03126, -0.03126, 0.03125, 0.09375, 2047.9])
    assert encode_input(plan, x).tolist() == [0, 16, -16, 0, 1, -1, 0, 2, 32766]
    assert decode_output(plan, np.array([128, -64, 1])).tolist() == [1.0, -0.5, 2**-7]
    for value in (2048.0, -2048.0, np.nan, np.inf):
        with pytest.raises(PlanError, match="beyond 2048"):
            encode_input(plan, [0.0, value])


@pytest.mark.parametrize("seed", range(20))
def test_tournament(seed):
    """Against its definition: each output's list, paired off by hand."""
    rng = np.random.default_rng(seed)
    kernel = tuple(int(k) for k in rng.integers(1, 5, 2))
    padding = tuple(int(rng.integers(0, kernel[i // 2])) for i in range(4))
    shape = (int(rng.integers(1, 4)), *(int(s) for s in rng.integers(4, 8, 2)))
    op = MaxPool("m", ("input",), kernel, tuple(int(s) for s in rng.integers(1, 4, 2)), padding, 8, 0)
    at = taps(op, shape)
    lists = [
        [(c * shape[1] + row) * shape[2] + column for _, _, row, column in at[position]]
        for c in range(shape[0])
        for position in at
    ]
    games = tournament(op, shape)
    flat = rng.permutation(int(np.prod(shape)))
    now = flat[games.start]
    assert games.start.tolist() == [e for one in lists for e in one]
    lists = [[int(flat[e]) for e in one] for one in lists]
    counts = []
    for level in games.levels:
        pairs = [(one[j], one[j + 1]) for one in lists for j in range(0, len(one) - 1, 2)]
        assert list(zip(now[level.left].tolist(), now[level.right].tolist(), strict=True)) == pairs
        counts.append(len(pairs))
        won = np.maximum(now[level.left], now[level.right])
        now = now[level.stays]
        now[level.winners] = won
        lists = [[max(one[j : j + 2]) for j in range(0, len(one), 2)] for one in lists]
        assert now.tolist() == [e for one in lists for e in one]
    assert all(len(one) == 1 for one in lists)
    assert counts == pairs_per_level(op, shape)


def test_a_whole_resnet_takes_seconds():
    plan = resnet18()
    weights = random_weights(plan, np.random.default_rng(0), 6)
    x = np.random.default_rng(1).integers(-100, 100, (1, 3, 32, 32))
    values = run(plan, weights, x)
    assert values["classes"].shape == (1, 100)
    # One output of one deep layer, by hand.
    weight, bias, y = weights["s4.1.conv2.weight"], weights["s4.1.conv2.bias"], values["s4.1.conv1.relu"][0]
    expected = sum(int(a) * int(b) for a, b in zip(weight[7, :, :2, :2].ravel(), y[:, 2:, 2:].ravel(), strict=True))
    assert int(values["s4.1.conv2"][0, 7, 3, 3]) == signed(expected + int(bias[7]), 32)


def test_kept_subset_by_hand():
    op = Relu("r", ("input",), 1, 8, 1, pack_kept([1, 0, 1, 0]))
    y = exact_nonlinear(op, np.array([[[[-3, -3], [5, 5]]]]))
    assert y.tolist() == [[[[0, -2], [2, 2]]]]
