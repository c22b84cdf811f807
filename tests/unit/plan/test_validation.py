"""Every rule of the plan format can be broken, and the error names the op and the bound."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from deepreduce.errors import PlanError
from deepreduce.plan import (
    Add,
    AvgPool,
    Concat,
    Flatten,
    Linear,
    MaxPool,
    Relu,
    Rescale,
    fractions,
    kept_mask,
    pack_kept,
    shapes,
    validate,
)
from deepreduce.plan.validation import MAX_TOTAL_ELEMENTS
from plan_samples import conv, plan_of, resnet18

RELU = Relu("r", ("c",), 8, 20, 1000)
POOL = MaxPool("p", ("c",), (2, 2), (2, 2), (0,) * 4, 16, 1000)


def simple(**changes):
    return replace(plan_of(conv("c", "input", 4), RELU), **changes)


def test_what_is_valid_passes():
    validate(simple())
    validate(resnet18())


def test_shapes_and_fractions():
    plan = plan_of(
        conv("a", "input", 4, 3, 2),
        conv("b", "input", 6, 1, 2, groups=2),
        Concat("cat", ("a", "b")),
        Relu("r", ("cat",), 5, 20, 10),
        MaxPool("m", ("r",), (2, 2), (1, 1), (1, 0, 1, 0), 20, 10),
        AvgPool("s", ("m",), (3, 3), (1, 1), (0,) * 4),
        Flatten("f", ("s",)),
        Rescale("up", ("f",), -3, 10),
        Linear("l", ("up",), 7, False, 8, 6),
    )
    validate(plan)
    assert shapes(plan) == {
        "input": (2, 6, 5),
        "a": (4, 3, 3),
        "b": (6, 3, 3),
        "cat": (10, 3, 3),
        "r": (10, 3, 3),
        "m": (10, 3, 3),
        "s": (10, 1, 1),
        "f": (10,),
        "up": (10,),
        "l": (7,),
    }
    assert fractions(plan) == {
        "input": 4, "a": 12, "b": 12, "cat": 12, "r": 7, "m": 7, "s": 7, "f": 7, "up": 10, "l": 16,
    }  # fmt: skip


C = conv("c", "input", 4)
BROKEN = {
    "version": (simple(version=4), "version 4"),
    "link rate": (simple(link_rate=10**6 - 1), "link_rate is 999999"),
    "high link rate": (simple(link_rate=10**11 + 1), "link_rate is 100000000001"),
    "ring too wide": (plan_of(C, ring_bits=65), "ring_bits is 65"),
    "ring of a bool": (simple(version=True), "version is True"),
    "list for tuple": (simple(input_shape=[2, 6, 5]), "input_shape"),
    "foreign parameters": (simple(parameter_set="rlwe-1"), "unknown parameter set"),
    "parameters for narrow rings": (replace(plan_of(C, ring_bits=33), parameter_set="rlwe-4096"), "not 33"),
    "parameters for wide rings": (replace(plan_of(C), parameter_set="rlwe-8192"), "not 32"),
    "no ops": (simple(ops=()), "number of ops is 0"),
    "empty image": (simple(input_shape=(2, 0, 5)), "input: size is 0"),
    "huge image": (simple(input_shape=(2**10, 2**10, 2**10)), "number of elements"),
    "two of a name": (plan_of(C, C), "used twice"),
    "reserved name": (plan_of(conv("output", "input", 4)), "not allowed"),
    "odd name": (plan_of(conv("a b", "input", 4)), "not allowed"),
    "unknown input": (plan_of(conv("c", "x", 4)), "'x' is not an earlier op"),
    "later input": (plan_of(conv("a", "b", 4), conv("b", "input", 4)), "'b' is not an earlier op"),
    "own input": (plan_of(conv("a", "a", 4)), "'a' is not an earlier op"),
    "one addend": (plan_of(Add("a", ("input",))), "number of inputs is 1"),
    "two for a relu": (plan_of(C, replace(RELU, inputs=("c", "c"))), "number of inputs is 2"),
    "unknown output": (simple(output="x"), "the output 'x' is not an op"),
    "input as output": (simple(output="input"), "is not an op"),
    "unused op": (plan_of(C, conv("d", "input", 4)), "c: nothing uses it"),
    "output used": (plan_of(C, RELU, output="c"), "r: nothing uses it"),
    "groups": (plan_of(conv("c", "input", 4, groups=3)), "do not divide into 3 groups"),
    "no stride": (plan_of(conv("c", "input", 4, stride=0)), "stride is 0"),
    "wide kernel": (plan_of(conv("c", "input", 4, 65, padding=64)), "kernel is 65"),
    "kernel beyond the map": (plan_of(conv("c", "input", 4, 7, padding=0)), "does not fit"),
    "negative padding": (plan_of(conv("c", "input", 4, padding=-1)), "padding is -1"),
    "weights too wide": (plan_of(conv("c", "input", 4, weight_bits=13)), "weight_bits is 13"),
    "too many weights": (plan_of(conv("c", "input", 2**20, 64, padding=64, stride=64)), "number of weights"),
    "linear on a map": (plan_of(Linear("l", ("input",), 3, False, 8, 0)), "put a Flatten before it"),
    "shapes of an add": (plan_of(C, Add("a", ("c", "input"))), "equal shapes"),
    "scales of an add": (plan_of(conv("c", "input", 2), Add("a", ("c", "input"))), "[4, 12] fractional bits"),
    "maps of a concat": (plan_of(conv("c", "input", 2, stride=2), Concat("a", ("c", "input"))), "maps of one size"),
    "window wider than the ring": (plan_of(C, replace(RELU, window=33)), "window is 33"),
    "shift past the window": (plan_of(C, replace(RELU, window=9, shift=9)), "shift is 9"),
    "shift of the whole ring": (plan_of(C, replace(RELU, window=32, shift=31, peak=0)), "shift is 31"),
    "negative relu shift": (plan_of(C, replace(RELU, shift=-1)), "shift is -1"),
    "peak beyond the window": (plan_of(C, replace(RELU, peak=131072)), "at most 524287"),
    "negative peak": (plan_of(C, replace(RELU, peak=-1)), "peak is -1"),
    "pool beyond the window": (plan_of(C, replace(POOL, peak=4096)), "8 times"),
    "pool in its padding": (plan_of(C, replace(POOL, padding=(2, 0, 0, 0))), "padding is 2"),
    "rescale beyond the ring": (plan_of(C, Rescale("s", ("c",), 3, 2**29)), "at most 2147483647"),
    "rescale up beyond the ring": (plan_of(C, Rescale("s", ("c",), -8, 2**21)), "at most 2147483647"),
    "rescale of the whole ring": (plan_of(C, Rescale("s", ("c",), 31, 0)), "shift is 31"),
    "kept of another length": (plan_of(C, replace(RELU, kept=b"\x01")), "1 bytes"),
    "kept beyond the end": (plan_of(conv("c", "input", 1), replace(RELU, kept=b"\x80\0\0\x01")), "bits beyond"),
    "kept keeps all": (plan_of(C, replace(RELU, kept=pack_kept(np.ones(120)))), "keeps all 120"),
    "kept keeps none": (plan_of(C, replace(RELU, kept=pack_kept(np.zeros(120)))), "keeps no element"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_a_rule_is_refused(case):
    plan, message = BROKEN[case]
    with pytest.raises(PlanError) as error:
        validate(plan)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "op",
    [
        replace(RELU, peak=131008),  # 4 * 131008 = 2^19 - 2^8
        replace(POOL, peak=4095),
        Rescale("s", ("c",), 3, 2**28 - 2),
        Rescale("s", ("c",), -8, 2**20 - 1),
        Rescale("s", ("c",), 0, 2**28 - 1),
        Relu("r", ("c",), 0, 1, 0),
        Relu("r", ("c",), 30, 31, 0),
    ],
)
def test_bounds_are_reached(op):
    validate(plan_of(C, op))


def test_removed_elements_are_rescaled_wherever_the_window_reaches():
    mask = np.arange(120) % 2 == 0
    relu = Relu("r", ("c",), 4, 32, 2**29 - 1)
    validate(plan_of(C, relu))
    validate(plan_of(C, replace(relu, kept=pack_kept(mask))))
    with pytest.raises(PlanError, match="at most 2147483647"):
        validate(plan_of(C, replace(relu, peak=2**29, kept=pack_kept(mask))))


@pytest.mark.parametrize("elements", [1, 7, 8, 9, 60])
def test_kept_masks_survive(elements):
    mask = np.random.default_rng(elements).random(elements) < 0.5
    op = Relu("r", ("c",), 0, 8, 0, pack_kept(mask))
    assert np.array_equal(kept_mask(op, elements), mask)
    assert kept_mask(replace(op, kept=None), elements).all()


def test_all_tensors_together_have_a_bound():
    side = 2**12
    names = ["input", *(f"r{index}" for index in range(17))]
    relus = [Relu(name, (before,), 0, 8, 0) for before, name in itertools.pairwise(names)]
    assert 17 * side**2 > MAX_TOTAL_ELEMENTS
    with pytest.raises(PlanError, match="r15: number of elements up to here"):
        validate(plan_of(*relus, input_shape=(1, side, side)))
