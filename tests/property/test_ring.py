"""Random layers and streams, found by hypothesis, against the oracles."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deepreduce import _core
from ring_oracle import PATHS, convolution, on_path

pytestmark = pytest.mark.core
WEIGHTS = st.sampled_from([-32767, -1, 0, 1, 2, 32767]) | st.integers(-32767, 32767)


@st.composite
def layers(draw):
    bits = draw(st.integers(1, 64))
    groups, group_channels, group_outputs = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 20))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    sides = [
        draw(st.integers(max(1, k - a - b), 7)) for k, a, b in zip(kernel, padding[::2], padding[1::2], strict=True)
    ]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = groups * group_outputs * group_channels * kernel[0] * kernel[1]
    few = np.array(draw(st.lists(WEIGHTS, min_size=1, max_size=5)), np.int16)
    weights = rng.choice(few, count).reshape(groups * group_outputs, group_channels, *kernel)
    elements = np.array(draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=5)), np.uint64)
    x = rng.choice(elements, (draw(st.integers(1, 3)), groups * group_channels, *sides))
    bias = rng.choice(elements, len(weights)) if draw(st.booleans()) else None
    return weights, x, bias, draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), padding, groups, bits


@given(layers(), st.sampled_from(PATHS), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_convolution(layer, path, threads):
    weights, x, bias, stride, padding, groups, bits = layer
    with on_path(path):
        y = _core.LinearWeights(weights, groups, bits).convolve(x, bias, stride, padding, threads)
    np.testing.assert_array_equal(y, convolution(x, weights, bias, stride, padding, groups, bits))


@given(st.integers(1, 64).flatmap(lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1)))))
@settings(deadline=None)
def test_packing_is_one_to_one(case):
    bits, values = case
    data = _core.pack(np.array(values, np.uint64), bits)
    assert int.from_bytes(data.tobytes(), "little") == sum(value << (i * bits) for i, value in enumerate(values))
    assert _core.unpack(data, len(values), bits).tolist() == values
