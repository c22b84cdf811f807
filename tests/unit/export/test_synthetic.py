"""Plans with random weights: valid, as large as asked, and right for other images than those that calibrated them."""

import numpy as np
import pytest

from deepreduce.errors import ModelError, PlanError, PointError, SettingError
from deepreduce.export import quantize
from deepreduce.export.synthetic import plan_of, random_images, with_random_weights
from deepreduce.lowering import Lowered, lower
from deepreduce.networks import ModelSource
from deepreduce.plan import (
    Conv,
    FixedPoint,
    Linear,
    MaxPool,
    Relu,
    Rescale,
    check_weights,
    encode,
    encode_input,
    fractions,
    packings,
    predict,
    run,
    validate,
)
from deepreduce.plan.execution.polynomials import noise_norm
from deepreduce.reduce import reduce_to

SMALL = {"width": 0.125, "classes": 10}


@pytest.mark.parametrize(
    ("network", "point", "more"),
    [
        ("resnet18", None, SMALL),
        ("resnet18", "S2^RT+S3^RT+S4^RT", SMALL),
        ("resnet18", "none", SMALL),
        ("resnet18", "S2^RT+S3^RT, alpha=0.5, rho=0.5", {**SMALL, "ring_bits": 41}),
        ("vgg16", None, {**SMALL, "ring_bits": 48}),
        ("wrn-22-8", "S2+S3", SMALL),
        ("mobilenet_v1", None, SMALL),
    ],
)
def test_plans_hold_for_fresh_images(network, point, more):
    plan, weights = plan_of(network, point, **more)
    validate(plan)
    check_weights(plan, weights)
    fractions(plan)  # every sum's operands have one scale
    images = encode_input(plan, random_images(plan.input_shape, np.random.default_rng(7), 1))
    values = run(plan, weights, images)
    for op in plan.ops:
        largest = np.abs(values[op.inputs[0]]).max()
        if isinstance(op, Relu):
            assert largest <= 2 ** (op.window - 1) - 2**op.shift
            assert 4 * op.peak > 2 ** (op.window - 2) - 2**op.shift or op.window == op.shift + 1  # no bit too many
        if isinstance(op, MaxPool):
            assert 2 * largest <= 2 ** (op.window - 1) - 1
        if isinstance(op, Conv | Linear):
            assert largest < 2**15  # 13 bits were calibrated; other images may go up to 4 times beyond
    assert np.abs(values[plan.output]).max() < 2 ** (plan.ring.ring_bits - 1)
    assert len(np.unique(values[plan.output])) > 5


def test_calibrated_activations_stay_within_their_bits():
    plan, weights = plan_of(
        "resnet18", "S2^RT+S3^RT", **SMALL, activation_bits=11, calibration_images=1, seed=3, merge=False
    )
    rng = np.random.default_rng(3)
    full = ModelSource("resnet18", 0.125).build((3, 32, 32), 10)
    with_random_weights(lower(reduce_to(full, "S2^RT+S3^RT", front_padding=False)), rng)
    images = encode_input(plan, random_images(plan.input_shape, rng, 1))  # those that calibrated it
    values = run(plan, weights, images)
    activations = [op for op in plan.ops if isinstance(op, Relu) or (isinstance(op, Rescale) and op.shift > 0)]
    assert len(activations) > 10
    for op in activations:
        assert np.abs(values[op.name]).max() <= 2**11
        assert np.abs(values[op.inputs[0]]).max() <= op.peak
    assert np.abs(values["avgpool"]).max() <= 2**11  # a sum of 16


def test_weights_fill_their_bits_and_the_flooding_budget_of_resnet18_holds():
    plan, weights = plan_of("resnet18", calibration_images=1)
    assert predict(plan).total.relus == 557_056
    squares = 0.0
    for name, packing in packings(plan).items():
        weight = weights[f"{name}.weight"].astype(np.float64)
        if name in {"layer1.0.conv1", "layer2.0.conv1", "layer4.1.conv1"}:  # that nothing ties to others
            assert (np.abs(weight).reshape(len(weight), -1).max(axis=1) == 2047).all()
        assert np.abs(weight).max() > 511
        squares += noise_norm(packing, weights[f"{name}.weight"])
    assert 23 < np.log2(squares) / 2 < 24.4


def test_fewer_weight_bits():
    plan, weights = plan_of("resnet6", **SMALL, weight_bits=9)
    assert {op.weight_bits for op in plan.ops if isinstance(op, Conv | Linear)} == {9}
    assert all(128 <= np.abs(w).max() <= 255 for name, w in weights.items() if name.endswith(".weight"))
    with pytest.raises(SettingError, match="13 weight bits, from 2 to 12"):
        plan_of("resnet6", **SMALL, weight_bits=13)


def test_the_same_arguments_give_the_same_plan():
    first, second, other = (plan_of("resnet6", "S2", **SMALL, seed=seed) for seed in (1, 1, 2))
    assert encode(first[0]) == encode(second[0])
    assert all(np.array_equal(first[1][name], second[1][name]) for name in first[1])
    assert not any(np.array_equal(first[1][name], other[1][name]) for name in first[1] if name.endswith(".weight"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("resnet19",), ModelError, "unknown network"),
        (("resnet6", "S9"), PointError, "no stage"),
    ],
)
def test_what_cannot_be_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        plan_of(*arguments, **SMALL)


def test_a_ring_that_is_too_small_is_refused():
    with pytest.raises(PlanError, match="peak"):
        plan_of("resnet6", **SMALL, ring_bits=19)
    with pytest.raises(SettingError, match="29 activation bits, from 2 to 28"):
        plan_of("resnet6", **SMALL, activation_bits=29)


@pytest.mark.parametrize("ring_bits", [5, 65, -1])
def test_rings_that_do_not_exist(ring_bits):
    with pytest.raises(SettingError, match="from 6 to 64"):
        plan_of("resnet6", width=0.125, ring_bits=ring_bits)


def test_a_pool_that_reads_a_convolution_has_a_scale():
    """No ReLU between them: nothing but the pool can choose the convolution's scale."""
    ops = (
        Conv("c", ("input",), 3, (3, 3), (1, 1), (1,) * 4, 1, True, 0, 0),
        MaxPool("p", ("c",), (2, 2), (2, 2), (0,) * 4, 0, 0),
        Relu("r", ("p",), 0, 0, 0),
        Conv("d", ("r",), 2, (1, 1), (1, 1), (0,) * 4, 1, True, 0, 0),
    )
    arrays = {"c": (np.zeros((3, 2, 3, 3)), np.zeros(3)), "d": (np.zeros((2, 3, 1, 1)), np.zeros(2))}
    lowered = Lowered((2, 6, 6), ops, arrays)
    rng = np.random.default_rng(0)
    lowered = with_random_weights(lowered, rng)
    plan, weights = quantize(lowered, random_images(lowered.input_shape, rng, 2), FixedPoint(32, 8))
    validate(plan)
    check_weights(plan, weights)
