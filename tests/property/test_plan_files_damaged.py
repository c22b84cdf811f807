"""Whatever the bytes, reading a plan gives a plan or a PlanError, and a plan only for its own bytes."""

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deepreduce.errors import PlanError
from deepreduce.plan import decode, encode
from random_plans import plan_with_mask, random_plan

CONTENT = encode(plan_with_mask()[0])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["Conv", "Relu", "input"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=10,
)


def paths(data, here=()):
    yield here
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from paths(value, (*here, key))


def put(data, path, value):
    if not path:
        return value
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value
    return None


PATHS = [path for path in paths(json.loads(CONTENT)) if path]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PATHS), JSON)
def test_a_value_replaced(path, value):
    data = json.loads(CONTENT)
    put(data, path, value)
    text = (json.dumps(data, sort_keys=True, indent=2) + "\n").encode()
    try:
        plan = decode(text)
    except PlanError:
        return
    assert encode(plan) == text


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 200), st.binary(max_size=8))
def test_bytes_replaced(start, length, new):
    text = CONTENT[:start] + new + CONTENT[start + length :]
    try:
        plan = decode(text)
    except PlanError:
        return
    assert encode(plan) == text


@settings(max_examples=100, deadline=None)
@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything(content):
    with pytest.raises(PlanError):
        decode(content)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(6, 64))
def test_random_plans_survive(seed, ring_bits):
    plan, _ = random_plan(np.random.default_rng(seed), ring_bits)
    assert decode(encode(plan)) == plan
