"""LinearWeights against exact integer arithmetic in numpy, on every path that the machine has."""

import numpy as np
import pytest

from deepreduce import _core
from ring_oracle import PATHS, convolution, on_path

pytestmark = pytest.mark.core
RINGS = (8, 24, 31, 32, 33, 41, 52, 53, 64)
MOST = 32767  # of a weight


def uniform(rng, shape, bits):
    return rng.integers(0, 2**bits - 1, shape, dtype=np.uint64, endpoint=True)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bits", RINGS)
def test_random_layers(path, bits):
    rng = np.random.default_rng(bits)
    for kernel in range(1, 8):
        for _ in range(3):
            groups = int(rng.choice([1, 1, 2, 3]))
            group_channels, group_outputs = (int(v) for v in rng.integers(1, 40, 2))
            if rng.integers(4) == 0:
                group_channels = group_outputs = 1
                groups = int(rng.integers(1, 70))
            kh, kw = kernel, int(rng.integers(1, 8))
            padding = tuple(int(v) for v in rng.integers(0, 4, 4))
            stride = tuple(int(v) for v in rng.integers(1, 4, 2))
            shape = int(rng.integers(1, 4)), groups * group_channels, *(int(v) for v in rng.integers(7, 12, 2))
            weights = rng.integers(-MOST, MOST + 1, (groups * group_outputs, group_channels, kh, kw)).astype(np.int16)
            x, bias = uniform(rng, shape, bits), uniform(rng, len(weights), bits)
            with on_path(path):
                layer = _core.LinearWeights(weights, groups, bits)
                y = layer.convolve(x, bias, stride, padding, int(rng.integers(1, 4)))
            np.testing.assert_array_equal(y, convolution(x, weights, bias, stride, padding, groups, bits))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bits", RINGS)
def test_extreme_values(path, bits):
    """Every mix of the extreme weights and inputs, enough of them for each 16- and 32-bit sum to wrap."""
    edges = [0, 1, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**47, 2**52 - 1, 2**63, 2**64 - 1]
    edges = np.unique(np.array([edge % 2**bits for edge in [*edges, 2 ** (bits - 1), 2**bits - 1]], np.uint64))
    for weight in (-MOST, MOST):
        weights = np.full((17, 300, 3, 3), weight, np.int16)
        x = np.broadcast_to(edges[:, None, None, None], (len(edges), 300, 3, 3)).copy()
        with on_path(path):
            y = _core.LinearWeights(weights, 1, bits).convolve(x)
        assert y.shape == (len(edges), 17, 1, 1)
        wanted = [int(edge) * weight * 2700 % 2**bits for edge in edges]
        for output in range(17):
            assert y[:, output, 0, 0].tolist() == wanted


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bits", (24, 33))
def test_bits_above_the_ring_do_not_count(path, bits):
    rng = np.random.default_rng(1)
    weights = rng.integers(-MOST, MOST + 1, (5, 7, 3, 3)).astype(np.int16)
    x, bias = uniform(rng, (2, 7, 6, 5), 64), uniform(rng, 5, 64)
    ring = np.uint64(2**bits - 1)
    with on_path(path):
        layer = _core.LinearWeights(weights, 1, bits)
        np.testing.assert_array_equal(layer.convolve(x, bias), layer.convolve(x & ring, bias & ring))


def test_the_oracle_against_python_integers():
    rng = np.random.default_rng(2)
    weights = rng.integers(-MOST, MOST + 1, (4, 2, 2, 3)).astype(np.int16)
    x, bias = uniform(rng, (1, 4, 4, 5), 64), uniform(rng, 4, 64)
    y = convolution(x, weights, bias, (2, 1), (1, 0, 2, 1), 2, 64)
    for output, row, column in np.ndindex(4, 2, 6):
        total = int(bias[output])
        for c, i, j in np.ndindex(2, 2, 3):
            at_row, at_column = 2 * row + i - 1, column + j - 2
            if 0 <= at_row < 4 and 0 <= at_column < 5:
                total += int(weights[output, c, i, j]) * int(x[0, output // 2 * 2 + c, at_row, at_column])
        assert y[0, output, row, column] == total % 2**64


def test_one_weight_object_serves_every_path():
    rng = np.random.default_rng(3)
    layer = _core.LinearWeights(rng.integers(-99, 99, (33, 5, 3, 3)).astype(np.int16), 1, 32)
    x = uniform(rng, (1, 5, 9, 9), 32)
    results = []
    for path in PATHS:
        with on_path(path):
            results.append(layer.convolve(x, None, (1, 1), (1, 1, 1, 1)))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize(
    ("shape", "dtype", "groups", "bits", "message"),
    [
        ((4, 2, 3), np.int16, 1, 32, "weights has 3 dimensions, must have 4"),
        ((4, 2, 3, 3), np.int16, 1, 0, "ring_bits is 0, must be from 1 to 64"),
        ((4, 2, 3, 3), np.int16, 1, 65, "ring_bits is 65"),
        ((4, 2, 3, 3), np.int16, 0, 32, "groups is 0"),
        ((4, 2, 3, 3), np.int16, 3, 32, "remainder"),
        ((4, 0, 3, 3), np.int16, 1, 32, "a side of weights is 0"),
    ],
)
def test_bad_weights(shape, dtype, groups, bits, message):
    with pytest.raises(ValueError, match=message):
        _core.LinearWeights(np.zeros(shape, dtype), groups, bits)


def test_the_least_int16_is_no_weight():
    weights = np.zeros((1, 1, 1, 3), np.int16)
    weights[0, 0, 0, 2] = -32768
    with pytest.raises(ValueError, match="the least weight is -32768, must be from -32767"):
        _core.LinearWeights(weights, 1, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((1, 6, 5), np.uint64)}, "x has 3 dimensions"),
        ({"x": np.zeros((1, 5, 5, 5), np.uint64)}, "channels is 5, must be 6"),
        ({"x": np.zeros((0, 6, 5, 5), np.uint64)}, "the batch is 0"),
        ({"x": np.zeros((1, 6, 2, 5), np.uint64)}, "the padded height.* is 2, must be from 3"),
        ({"x": np.zeros((1, 6, 5, 2), np.uint64)}, "the padded width.* is 2, must be from 3"),
        ({"x": np.zeros((1, 6, 5, 0), np.uint64)}, "a side of x is 0"),
        ({"bias": np.zeros(3, np.uint64)}, "bias's length is 3, must be 4"),
        ({"bias": np.zeros((4, 1), np.uint64)}, "bias has 2 dimensions"),
        ({"stride": (0, 1)}, "vertical stride is 0"),
        ({"stride": (1, -1)}, "horizontal stride is -1"),
        ({"padding": (0, 0, -1, 0)}, "padding on the left is -1"),
        ({"padding": (0, 2**40, 0, 0)}, "padding at the bottom is 1099511627776"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_bad_calls(changes, message):
    layer = _core.LinearWeights(np.ones((4, 3, 3, 3), np.int16), 2, 32)
    arguments = {"x": np.zeros((1, 6, 5, 5), np.uint64)} | changes
    with pytest.raises(ValueError, match=message):
        layer.convolve(**arguments)


def test_other_types_are_refused_not_converted():
    with pytest.raises(TypeError):
        _core.LinearWeights(np.zeros((1, 1, 1, 1), np.float32), 1, 32)
    layer = _core.LinearWeights(np.ones((1, 1, 1, 1), np.int16), 1, 32)
    for x in (np.zeros((1, 1, 2, 2), np.int64), np.zeros((1, 1, 2, 4), np.uint64)[..., ::2]):
        with pytest.raises(TypeError):
            layer.convolve(x)
