"""Encrypt, respond, decrypt equals the integer convolution less the mask: random shapes, groups and rings."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from deepreduce import _core
from he_op import Exchange, Op, random_ring

pytestmark = pytest.mark.core

BITS = [8, 24, 32, 37, 41, 48, 64]


@st.composite
def ops(draw, degree: int) -> Op:
    """Any operation whose tile fits a polynomial, groups cutting across blocks included."""
    groups = draw(st.integers(1, 4))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    area = (draw(st.integers(kernel[0], 12)), draw(st.integers(kernel[1], 12)))
    inputs, outputs = groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 5))
    size = area[0] * area[1]
    packed = 1 << draw(st.integers(0, min(5, (degree // size).bit_length() - 1)))
    most = max(1, min(inputs + 1, degree // size) // packed)
    block_channels = packed * draw(st.integers(1, most))
    block_outputs = draw(st.integers(1, min(outputs + 1, degree // (size * block_channels))))
    return Op(outputs, inputs, groups, kernel, area, block_channels, block_outputs, degree, packed)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), bits=st.sampled_from(BITS), seed=st.integers(0, 2**32))
def test_equals_the_integer_convolution(cpu_path, data, bits, seed):
    op = data.draw(ops(_core.he_parameters(bits)["degree"]))
    rng = np.random.default_rng(seed)
    w = rng.integers(-2047, 2047, (op.outputs, op.inputs // op.groups, *op.kernel), np.int16, endpoint=True)
    exchange = Exchange(bits, op, w)
    x = random_ring(rng, bits, (op.inputs, *op.area))
    masks = random_ring(rng, 64, exchange.positions.size)
    responses = exchange.respond(exchange.upload(x), masks)
    assert np.array_equal(exchange.decrypt(responses), exchange.expected(x, masks))
    squares = np.square(w.astype(np.int64)).sum((1, 2, 3))
    blocks = np.split(squares, range(op.block_outputs, op.outputs, op.block_outputs))
    assert exchange.weights.norm_squared == sum(len(b) * b.sum() for b in blocks) * op.out[0] * op.out[1]
