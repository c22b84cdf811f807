"""Whole networks between two parties: bit for bit the reference, at the predicted cost."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from deepreduce import _core
from deepreduce.plan import AvgPool, MaxPool, Relu, Rescale, pack_kept, run
from deepreduce.plan.reference import exact_nonlinear
from deepreduce.plan.serialization import weight_tensors
from plan_samples import conv, plan_of, resnet18
from random_plans import random_input, random_plan
from sessions import ask, differences, image, serving

pytestmark = pytest.mark.core
RINGS = [24, 32, 37, 41, 48, 64]


@settings(max_examples=24, deadline=None)
@given(ring_bits=st.sampled_from(RINGS), seed=st.integers(0, 2**32), batch=st.integers(1, 3))
@pytest.mark.parametrize("protocol", ["ot", "delphi"])
def test_any_network_is_the_reference_bit_for_bit(protocol, ring_bits, seed, batch):
    rng = np.random.default_rng(seed)
    plan, weights = random_plan(rng, ring_bits)
    x = random_input(rng, plan, batch)
    expected = run(plan, weights, x)
    if protocol == "ot":  # beyond its window a comparison is another function of the value
        assume(all(_within(op, expected) for op in plan.ops))
    with serving(plan, weights) as (_, port):
        y, client = ask(port, x, protocol=protocol)
    assert np.array_equal(y, expected[plan.output])
    assert not differences(client, protocol, batch)


def _within(op, values):
    operand = values[op.inputs[0]]
    if isinstance(op, Relu):
        return bool((np.abs(operand.astype(float)) < 2 ** (op.window - 1)).all())
    return not isinstance(op, MaxPool) or operand.max() - operand.min() < 2 ** (op.window - 1)


KEPT = pack_kept(np.arange(3 * 11 * 9) % 3 != 1)
SINGLE = {
    "relu": Relu("op", ("c",), 5, 26, 2**20),
    "relu of some": Relu("op", ("c",), 5, 26, 2**20, KEPT),
    "relu of some without shift": Relu("op", ("c",), 0, 26, 2**20, KEPT),
    "rescale": Rescale("op", ("c",), 6, 2**20),
    "pool": MaxPool("op", ("c",), (3, 3), (2, 2), (1, 1, 1, 1), 26, 2**20),
}


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("ring_bits", [32, 41])
def test_one_op_is_exact(name, ring_bits):
    rng = np.random.default_rng(len(name))
    plan = plan_of(conv("c", "input", 3), SINGLE[name], input_shape=(2, 11, 9), ring_bits=ring_bits)
    weights = {
        key: rng.integers(-900, 900, shape).astype(dtype) for key, (dtype, shape) in weight_tensors(plan).items()
    }
    x = image(plan, rng, 4, 40)
    with serving(plan, weights) as (_, port):
        y, client = ask(port, x, protocol="ot")
    assert np.array_equal(y, run(plan, weights, x)["op"])
    assert not differences(client, "ot", 4)


@pytest.mark.parametrize("protocol", ["ot", "delphi"])
def test_a_resnet(cpu_path, protocol):
    """A narrow ResNet18 on every CPU path: shortcuts, strides, projections, pooling, 20 levels."""
    rng = np.random.default_rng(7)
    plan = resnet18(width=4, classes=10)
    ops = (dataclasses.replace(op, kernel=(1, 1)) if isinstance(op, AvgPool) else op for op in plan.ops)
    plan = dataclasses.replace(plan, input_shape=(3, 8, 8), ops=tuple(ops))
    weights = {key: rng.normal(0, 60, shape).astype(dtype) for key, (dtype, shape) in weight_tensors(plan).items()}
    x = image(plan, rng, 2, 120)
    exact = run(plan, weights, x)[plan.output]
    with serving(plan, weights, threads=2) as (_, port):
        y, client = ask(port, x, protocol=protocol, threads=2)
    assert not differences(client, protocol, 2)
    assert np.array_equal(y, exact)


def test_the_reference_hook_is_the_exact_one():
    """The oracle's default non-linearity, named, gives the oracle's answer (guards the tests above)."""
    rng = np.random.default_rng(1)
    plan, weights = random_plan(rng, 32)
    x = random_input(rng, plan, 1)
    named = run(plan, weights, x, exact_nonlinear)
    assert all(np.array_equal(value, named[key]) for key, value in run(plan, weights, x).items())


def test_parties_on_different_cpu_paths_agree():
    """The bytes do not depend on the path: garbled on one, evaluated on another (through the core directly)."""
    from two_party import choose, fresh, ot_pair

    paths = _core.cpu_paths()
    sender, receiver, delta = ot_pair()
    zero, active = choose(sender, receiver, np.zeros(12, np.uint16))
    key, seed = fresh(1), fresh(2)[:24]
    digits, rows = _core.Digits([4, 5], [0, 1]), np.arange(9 * 8, dtype=np.uint8)
    transfers = fresh(9 * 64)
    seen = []
    for path in paths:
        _core.select_cpu_path(path)
        tables = np.empty(16 * 10 * 32, np.uint8)
        decode = _core.circuit_garble("rescale", 6, 0, delta, key, seed, 9, zero, tables)
        labels = np.empty(16 * 6 * 16, np.uint8)
        _core.circuit_encode(6, delta, seed, 9, np.arange(16, dtype=np.uint64), labels)
        colors = _core.circuit_evaluate("rescale", 6, 0, key, 9, active, labels, tables)
        pads = _core.table_pads_send(key, 3, 2, digits, delta, transfers, rows[:16].copy(), rows[:16].copy(), 64)
        read = _core.table_pads_receive(key, 3, 2, digits, transfers, rows, 64)
        bits = _core.bit_pads_send(key, 3, 2, delta, transfers, 64)
        words = _core.select_pads_send(key, 3, 2, 3, delta, transfers[: 3 * 64 * 16].copy(), 64)
        found = (tables, decode, labels, colors, pads, read, *bits, words)
        seen.append([x.tobytes() for x in found])
    _core.select_cpu_path(paths[-1])
    assert all(one == seen[0] for one in seen)
