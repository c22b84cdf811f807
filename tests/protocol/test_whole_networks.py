"""Whole networks between two parties: exact or within a unit, as promised, and at the predicted cost."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, reject, settings, strategies as st

from deepreduce import _core
from deepreduce.errors import PlanError
from deepreduce.plan import AvgPool, MaxPool, Relu, Rescale, pack_kept, run, validate
from deepreduce.plan.reference import exact_nonlinear
from deepreduce.plan.serialization import weight_tensors
from plan_samples import conv, plan_of, resnet18
from random_plans import random_input, random_plan
from sessions import ask, differences, image, serving

pytestmark = pytest.mark.core
RINGS = [24, 32, 37, 41, 48, 64]


@settings(max_examples=24, deadline=None)
@given(ring_bits=st.sampled_from(RINGS), seed=st.integers(0, 2**32), batch=st.integers(1, 3))
def test_delphi_is_the_reference_bit_for_bit(ring_bits, seed, batch):
    rng = np.random.default_rng(seed)
    plan, weights = random_plan(rng, ring_bits)
    x = random_input(rng, plan, batch)
    with serving(plan, weights) as (_, port):
        y, client = ask(port, x, protocol="delphi")
    assert np.array_equal(y, run(plan, weights, x)[plan.output])
    assert not differences(client, "delphi", batch)


@settings(max_examples=24, deadline=None, suppress_health_check=list(HealthCheck))
@given(ring_bits=st.sampled_from(RINGS), seed=st.integers(0, 2**32), batch=st.integers(1, 3))
def test_fused_without_shifts_is_exact(ring_bits, seed, batch):
    """f = 0 everywhere: nothing is rounded, so whole networks agree bit for bit."""
    rng = np.random.default_rng(seed)
    plan, weights = random_plan(rng, ring_bits)
    ops = tuple(
        dataclasses.replace(op, shift=0, window=ring_bits, peak=0) if isinstance(op, Relu)
        else dataclasses.replace(op, window=ring_bits, peak=0) if isinstance(op, MaxPool)
        else dataclasses.replace(op, shift=0) if isinstance(op, Rescale) and op.shift > 0
        else op
        for op in plan.ops
    )  # fmt: skip
    exact = dataclasses.replace(plan, ops=ops)
    try:
        validate(exact)
    except PlanError:
        reject()  # without its shifts the plan brings two scales to one Add
    x = random_input(rng, exact, batch)
    values = run(exact, weights, x)
    # Values beyond the window of their differences are computed wrongly, as documented.
    assume(all(np.abs(v.astype(float)).max() < 2 ** (ring_bits - 3) for v in values.values()))
    with serving(exact, weights) as (_, port):
        y, client = ask(port, x, protocol="fused")
    assert np.array_equal(y, values[exact.output])
    assert not differences(client, "fused", batch)


@settings(max_examples=24, deadline=None)
@given(ring_bits=st.sampled_from(RINGS), seed=st.integers(0, 2**32))
def test_fused_costs_what_was_predicted(ring_bits, seed):
    rng = np.random.default_rng(seed)
    plan, weights = random_plan(rng, ring_bits)
    x = random_input(rng, plan, 2)
    with serving(plan, weights) as (_, port):
        _, client = ask(port, x, protocol="fused")
    assert not differences(client, "fused", 2)


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
def test_fused_is_within_one_unit(name, ring_bits):
    """One non-linear op, 4 images: 0 or 1 above the floor, never where 2^shift divides, exact at shift 0."""
    rng = np.random.default_rng(len(name))
    op = SINGLE[name]
    plan = plan_of(conv("c", "input", 3), op, input_shape=(2, 11, 9), ring_bits=ring_bits)
    weights = {
        key: rng.integers(-900, 900, shape).astype(dtype) for key, (dtype, shape) in weight_tensors(plan).items()
    }
    x = image(plan, rng, 4, 40)
    with serving(plan, weights) as (_, port):
        y, client = ask(port, x, protocol="fused")
    values = run(plan, weights, x)
    over = y - values["op"]
    assert np.isin(over, (0, 1)).all()
    shift = getattr(op, "shift", 0)
    assert shift == 0 or over.any()
    divisible = values["c"] % 2**shift == 0 if values["c"].shape == over.shape else np.ones(over.shape, bool)
    assert not over[divisible].any()
    assert not differences(client, "fused", 4)


@pytest.mark.parametrize("protocol", ["fused", "delphi"])
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
    if protocol == "delphi":
        assert np.array_equal(y, exact)
    else:
        # Unbiased rounding: against rounding to the nearest, errors of one unit pass through 20 layers.
        nearest = run(plan, weights, x, lambda op, y: np.maximum(y + 2 ** (op.shift - 1) >> op.shift, 0))[plan.output]
        assert np.abs(y - nearest).max() <= 0.15 * np.abs(nearest).max()


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
    a = np.arange(16, dtype=np.uint64)
    zero, active = choose(sender, receiver, _core.bit_slice(a, 6))
    key, seed = fresh(1), fresh(1)
    seen = []
    for path in paths:
        _core.select_cpu_path(path)
        tables = np.empty(16 * 5 * 32, np.uint8)
        pads, lam, color = _core.sign_garble(delta, key, seed, 9, 6, zero, tables)
        labels = np.empty(16 * 6 * 16, np.uint8)
        elements = _core.sign_respond(delta, seed, 9, 32, 6, a, pads, lam, color, a, a, labels)
        opened = _core.sign_evaluate(key, 9, 32, 6, active, labels, tables, elements, a, a, a)
        seen.append([x.tobytes() for x in (tables, pads, lam, color, labels, elements, opened)])
    _core.select_cpu_path(paths[-1])
    assert all(one == seen[0] for one in seen)
