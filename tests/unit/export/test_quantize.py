"""Quantizing: integers that stand for the real values, whatever ties their scales together."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from deepreduce.errors import PlanError, SettingError
from deepreduce.export import with_rescales
from deepreduce.export.quantization.precision import NormError, check_norm, quantized
from deepreduce.export.quantization.quantize import quantize, rounded_peak
from deepreduce.lowering import Lowered
from deepreduce.plan import (
    Add,
    AvgPool,
    Concat,
    Conv,
    FixedPoint,
    Flatten,
    Linear,
    MaxPool,
    Relu,
    check_weights,
    decode_output,
    encode,
    encode_input,
    fractions,
    run,
    validate,
)
from real_ops import run as run_real

RING = FixedPoint(32, 8)


def conv(name, source, outputs, kernel=3, stride=1, groups=1, bias=True):
    return Conv(name, (source,), outputs, (kernel,) * 2, (stride,) * 2, (kernel // 2,) * 4, groups, bias, 0, 0)


def relu(source):
    return Relu(f"{source}.relu", (source,), 0, 0, 0)


def lowered_of(ops, rng, shape=(2, 6, 6), spread=1.0):
    """Real weights whose channels differ in size by some powers of two."""
    from deepreduce.plan.shapes import shape_of

    found, weights = {"input": shape}, {}
    for op in ops:
        found[op.name] = shape_of(op, [found[name] for name in op.inputs])
        before = found[op.inputs[0]]
        if isinstance(op, Conv | Linear):
            outputs = found[op.name][0]
            size = (before[0] // op.groups, *op.kernel) if isinstance(op, Conv) else (before[0],)
            sizes = 2.0 ** rng.uniform(-spread, spread, outputs)
            weight = rng.standard_normal((outputs, *size)) * sizes.reshape(-1, *(1,) * len(size))
            weights[op.name] = weight, rng.standard_normal(outputs) * sizes * op.bias
    return with_rescales(Lowered(shape, tuple(ops), weights))


def real_answers(lowered, images):
    return run_real(lowered, torch.from_numpy(images)).numpy()


def relative_error(lowered, images, plan, weights):
    values = run(plan, weights, encode_input(plan, images))
    real = real_answers(lowered, images)
    ours = decode_output(plan, values[plan.output])
    return np.abs(ours - real).max() / np.abs(real).max()


BLOCK = [  # a shortcut, a projection, a concatenation, all pools, a flattened map: every way to tie scales
    conv("stem", "input", 4), relu("stem"),
    conv("a", "stem.relu", 4), relu("a"), conv("b", "a.relu", 4), Add("sum", ("stem.relu", "b")), relu("sum"),
    conv("c", "sum.relu", 6, 3, 2), conv("short", "sum.relu", 6, 1, 2), Add("sum2", ("c", "short")), relu("sum2"),
    conv("d", "sum2.relu", 3, 1), relu("d"), Concat("both", ("sum2.relu", "d.relu")),
    conv("depth", "both", 9, 3, groups=9), MaxPool("max", ("depth",), (2, 2), (1, 1), (0,) * 4, 0, 0), relu("max"),
    AvgPool("avg", ("max.relu",), (2, 2), (2, 2), (0,) * 4), Flatten("flat", ("avg",)),
    Linear("hidden", ("flat",), 9, False, 0, 0), Add("late", ("hidden", "flat")), relu("late"),
    Linear("fc", ("late.relu",), 5, True, 0, 0),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_answers_are_the_real_ones(seed):
    rng = np.random.default_rng(seed)
    lowered = lowered_of(BLOCK, rng)
    images = rng.uniform(-2, 2, (16, 2, 6, 6))
    plan, weights = quantize(lowered, images, RING)
    check_weights(plan, weights)
    assert relative_error(lowered, images, plan, weights) < 0.04
    fresh = rng.uniform(-2, 2, (8, 2, 6, 6))
    assert relative_error(lowered, fresh, plan, weights) < 0.04


def drawn_ops(draw):
    """A random chain of layers, each of which may read any map of its size that is there."""
    ops, maps = [conv("c0", "input", 4), relu("c0")], ["c0.relu"]
    for index in range(draw(st.integers(1, 6))):
        name, source = f"n{index}", draw(st.sampled_from(maps))
        kind = draw(st.sampled_from(["conv", "depthwise", "add", "sum", "concat", "max", "bare"]))
        if kind in {"conv", "bare"}:
            ops.append(conv(name, source, 4, draw(st.sampled_from([1, 3])), bias=draw(st.booleans())))
        elif kind == "depthwise":
            ops.append(conv(name, source, 4, groups=4))
        elif kind == "add":
            ops += [conv(f"{name}.conv", source, 4), Add(name, (f"{name}.conv", draw(st.sampled_from(maps))))]
        elif kind == "sum":
            ops += [
                conv(f"{name}.p", source, 4, 1),
                conv(f"{name}.q", source, 4),
                Add(name, (f"{name}.p", f"{name}.q")),
            ]
        elif kind == "concat":
            ops += [Concat(f"{name}.cat", (source, draw(st.sampled_from(maps)))), conv(name, f"{name}.cat", 4, 1)]
        else:
            ops.append(MaxPool(name, (source,), (3, 3), (1, 1), (1,) * 4, 0, 0))
        if kind != "bare":  # a linear op that others multiply again: its accumulator is rescaled
            ops.append(relu(name))
        maps.append(name if kind == "bare" else f"{name}.relu")
    read = {name for op in ops for name in op.inputs}
    last = [name for name in maps if name not in read]
    ops += [Add("all", tuple(last))] if len(last) > 1 else []
    ops += [AvgPool("avg", (ops[-1].name,), (6, 6), (6, 6), (0,) * 4), Flatten("flat", ("avg",))]
    return [*ops, Linear("fc", ("flat",), 3, True, 0, 0)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_random_networks(data):
    ops = drawn_ops(data.draw)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    lowered = lowered_of(ops, rng, spread=data.draw(st.sampled_from([0.0, 0.5, 1.0])))
    images = rng.uniform(-2, 2, (8, 2, 6, 6))
    plan, weights = quantize(lowered, images, FixedPoint(48, 8), activation_bits=20)  # algebra, not precision
    check_weights(plan, weights)
    values = run(plan, weights, encode_input(plan, images))
    real = real_answers(lowered, images)
    ours = decode_output(plan, values[plan.output])
    assert np.abs(ours - real).max() < 0.08 * np.abs(real).max() + 2.0 ** -fractions(plan)["fc"]


def test_every_open_channel_fills_its_bits():
    rng = np.random.default_rng(0)
    lowered = lowered_of(BLOCK, rng)
    for bits in (12, 9):
        plan, weights = quantize(lowered, rng.uniform(-2, 2, (8, 2, 6, 6)), RING, weight_bits=bits)
        for name in ("a", "d"):
            assert (
                np.abs(weights[f"{name}.weight"]).reshape(len(weights[f"{name}.weight"]), -1).max(axis=1)
                == 2 ** (bits - 1) - 1
            ).all()
        assert {op.weight_bits for op in plan.ops if isinstance(op, Conv | Linear)} == {bits}


@pytest.mark.parametrize("dead", [0.0, 1e-30, 1e-12])
def test_dead_channels_cost_the_others_nothing(dead):
    """A channel with (almost) no weights and a large bias: batch normalization that was trained to zero."""
    rng = np.random.default_rng(1)
    lowered = lowered_of(BLOCK, rng, spread=0.5)
    images = rng.uniform(-2, 2, (16, 2, 6, 6))
    for name in ("a", "b", "depth"):
        lowered.weights[name][0][1] *= dead
        lowered.weights[name][1][1] = 2.0
    plan, weights = quantize(lowered, images, RING)
    assert relative_error(lowered, images, plan, weights) < 0.06


def test_channels_that_are_zero_by_their_operand_cost_the_others_nothing():
    """Most channels have weights and nothing to multiply them with: they say nothing of the others' size."""
    rng = np.random.default_rng(5)
    grouped = Conv("b", ("a.relu",), 8, (3, 3), (1, 1), (1,) * 4, 8, False, 0, 0)
    ops = [
        conv("a", "input", 8),
        relu("a"),
        grouped,
        relu("b"),
        Flatten("flat", ("b.relu",)),
        Linear("fc", ("flat",), 3, True, 0, 0),
    ]
    lowered = lowered_of(ops, rng)
    weight, bias = lowered.weights["a"]
    weight[:6], bias[:6] = 0, -1
    images = rng.standard_normal((16, 2, 6, 6))
    plan, integers = quantize(lowered, images, RING)
    answers = decode_output(plan, run(plan, integers, encode_input(plan, images))["fc"])
    real = run_real(lowered, images).numpy()
    assert np.abs(answers - real).max() < 0.01 * np.abs(real - real.mean(0)).max()


@pytest.mark.parametrize("block", [False, True])
def test_a_mean_over_many_places_is_not_shifted(block):
    """Activations that shifts round down are half a unit too small, all of them: a mean would see it."""
    rng = np.random.default_rng(6)
    ops = [conv("a", "input", 8), relu("a")]
    if block:
        ops += [conv("b", "a.relu", 8), conv("c", "a.relu", 8), Add("sum", ("b", "c")), relu("sum")]
    last = ops[-1].name
    ops += [
        AvgPool("pool", (last,), (16, 16), (16, 16), (0,) * 4),
        Flatten("flat", ("pool",)),
        Linear("fc", ("flat",), 4, True, 0, 0),
    ]
    lowered = lowered_of(ops, rng, shape=(2, 16, 16))
    images = rng.standard_normal((32, 2, 16, 16)) + rng.standard_normal((32, 2, 1, 1))
    plan, integers = quantize(lowered, images, RING)
    answers = decode_output(plan, run(plan, integers, encode_input(plan, images))["fc"])
    real = run_real(lowered, images).numpy()
    assert np.abs((answers - real).mean(0) / real.std(0)).max() < 0.05


def test_a_branch_of_zeros():
    """As residual branches begin: everything they add is zero, or next to nothing."""
    for factor in (0.0, 1e-9):
        rng = np.random.default_rng(2)
        lowered = lowered_of(BLOCK, rng, spread=0.5)
        for array in (*lowered.weights["b"], *lowered.weights["c"]):
            array *= factor
        images = rng.uniform(-2, 2, (16, 2, 6, 6))
        plan, weights = quantize(lowered, images, RING)
        assert relative_error(lowered, images, plan, weights) < 0.04


def test_the_answer_and_the_image_have_no_scales_of_their_own():
    """Logits of one scale, also where the image reaches them without a linear op."""
    rng = np.random.default_rng(3)
    ops = [conv("c", "input", 2), Add("sum", ("c", "input")), AvgPool("all", ("sum",), (6, 6), (6, 6), (0,) * 4)]
    lowered = lowered_of(ops, rng)
    images = rng.uniform(-2, 2, (16, 2, 6, 6))
    plan, weights = quantize(lowered, images, RING)
    assert relative_error(lowered, images, plan, weights) < 0.04
    assert np.abs(weights["c.weight"]).max() > 1000


def test_the_plan_tells_nothing_of_the_weights_size():
    """Networks whose inner weights differ by any factor have the same plan."""
    rng = np.random.default_rng(4)
    images = rng.uniform(-2, 2, (8, 2, 6, 6))
    lowered = lowered_of(BLOCK, rng)
    plan, _ = quantize(lowered, images, RING)
    factors = 2.0 ** rng.integers(-9, 9, 3)
    weights = dict(lowered.weights)
    weight, bias = weights["d"]
    weights["d"] = weight * factors[:, None, None, None], bias * factors
    after, offset = weights["depth"]
    weights["depth"] = np.concatenate([after[:6], after[6:] / factors[:, None, None, None]]), offset
    scaled, _ = quantize(Lowered(lowered.input_shape, lowered.ops, weights), images, RING)
    assert encode(plan) == encode(scaled)


def test_the_same_arguments_give_the_same_plan_and_weights():
    rng = np.random.default_rng(5)
    lowered, images = lowered_of(BLOCK, rng), rng.uniform(-2, 2, (8, 2, 6, 6))
    first, second = (quantize(lowered, images, RING) for _ in range(2))
    assert encode(first[0]) == encode(second[0])
    assert all(np.array_equal(first[1][name], second[1][name]) for name in first[1])


def test_peaks_come_one_to_an_octave():
    rounded = [rounded_peak(peak) for peak in range(1, 4000)]
    assert all(peak <= found < 2.14 * peak + 2 for peak, found in zip(range(1, 4000), rounded, strict=True))
    assert {found for found in rounded if found > 15} == {15 << shift for shift in range(1, 10)}
    assert [rounded_peak(2**40 + offset) for offset in (-1, 1)] == [15 << 37, 15 << 37]


def test_a_ring_that_is_too_small_is_refused_by_op():
    rng = np.random.default_rng(6)
    lowered, images = lowered_of(BLOCK, rng), rng.uniform(-2, 2, (8, 2, 6, 6))
    with pytest.raises(PlanError, match=r"^[a-z0-9]+: .* leaves the ring of 20 bits.*\(use more ring bits"):
        quantize(lowered, images, FixedPoint(20, 8))
    with pytest.raises(PlanError, match="not finite"):
        quantize(lowered, np.full_like(images, np.nan), RING)


def test_the_narrowest_ring_is_taken_and_said():
    rng = np.random.default_rng(7)
    lowered, images = lowered_of(BLOCK, rng), rng.uniform(-2, 2, (8, 2, 6, 6))
    plan, _, notices = quantized(lowered, images)
    assert (plan.ring.ring_bits, notices) == (32, ())
    assert quantized(lowered, images, 41)[0].ring.ring_bits == 41
    with pytest.raises(SettingError, match="13 weight bits"):
        quantized(lowered, images, weight_bits=13)
    with pytest.raises(SettingError, match="a ring of 65 bits"):
        quantized(lowered, images, 65)


@pytest.mark.parametrize(("side", "expected"), [(100, (32, 11)), (200, (32, 10)), (600, (41, 12))])
def test_weights_that_cannot_be_hidden_get_fewer_bits_or_a_wider_ring(side, expected):
    rng = np.random.default_rng(8)
    ops = [conv("c", "input", 64), relu("c"), conv("d", "c.relu", 64), AvgPool("p", ("d",), (4, 4), (4, 4), (0,) * 4)]
    lowered = lowered_of(ops, rng, (64, 8, 8))
    places = side**2 / 64  # as if the map were so large: only the norm looks at it
    images = rng.uniform(-2, 2, (2, 64, 8, 8))

    from deepreduce.export.quantization import precision as rings

    honest = rings.noise_norms
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rings, "noise_norms", lambda *a: tuple(places * part for part in honest(*a)))
        plan, _, notices = quantized(lowered, images)
        assert (plan.ring.ring_bits, plan.ops[0].weight_bits) == expected
        assert "more than a ring of 32 bits can hide" in notices[0] and notices[-1].startswith("taken: a ring of")
        with pytest.raises(NormError, match=r"fewer weight bits"):
            quantized(lowered, images, 32)
    check_norm(plan, quantized(lowered, images, plan.ring.ring_bits)[1])
    validate(plan)
