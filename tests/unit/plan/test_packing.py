"""Packings against slow polynomial products in Z[X]/(X^N + 1), and the choice against brute force."""

from dataclasses import replace
from math import ceil

import numpy as np
import pytest

from deepreduce.plan import PARAMETER_SETS, Conv, Linear, ParameterSet, packings
from deepreduce.plan.execution.packing import _ciphertext_bytes, _polyphase, choose, response_bytes, upload_bytes
from deepreduce.plan.execution.polynomials import (
    pack_input,
    pack_weights,
    unpack_output,
    useful_positions,
    weight_polynomial,
)
from deepreduce.plan.reference import apply, exact_nonlinear
from plan_samples import conv, negacyclic, resnet18

SMALL = PARAMETER_SETS["rlwe-4096"]


def degree(n):
    return ParameterSet("test", n, 2, 2, 32)


def by_polynomials(packing, x, weight):
    """The op's output through the packing, every product by the definition of the ring."""
    uploads, packed = pack_input(packing, x.astype(np.uint64)), pack_weights(packing, weight)
    assert uploads.shape == (packing.uploads, packing.poly_degree)
    values, products = [], 0
    for response in range(packing.responses):
        tile, output_block = divmod(response, packing.output_blocks)
        total = np.zeros(packing.poly_degree, dtype=np.uint64)
        for channel_block in packing.meeting(output_block):
            polynomial = weight_polynomial(packing, packed, output_block, channel_block)
            upload = uploads[tile * packing.channel_blocks + channel_block]
            total += negacyclic(polynomial.astype(np.int64).view(np.uint64), upload)
            products += 1
        positions = useful_positions(packing, response)
        assert len(set(positions.tolist())) == len(positions) == packing.useful[response]
        values.append(total[positions])
    assert products == packing.products
    return unpack_output(packing, values).view(np.int64)


def random_case(rng):
    """A random op, operand and every packing parameter drawn freely, not only the best."""
    groups = int(rng.choice([1, 1, 2, 3]))
    shape = (groups * int(rng.integers(1, 4)), int(rng.integers(1, 9)), int(rng.integers(1, 9)))
    padding = tuple(int(p) for p in rng.integers(0, 3, 4))
    kernel = tuple(
        int(rng.integers(1, min(4, s + padding[2 * i] + padding[2 * i + 1]) + 1)) for i, s in enumerate(shape[1:])
    )
    stride = tuple(int(s) for s in rng.integers(1, 5, 2))
    op = Conv("c", ("input",), groups * int(rng.integers(1, 4)), kernel, stride, padding, groups, False, 12, 0)
    start = _polyphase(op, shape, degree(128))
    tile_h, tile_w = int(rng.integers(1, start.out_h + 1)), int(rng.integers(1, start.out_w + 1))
    area = (tile_h + start.kernel_h - 1) * (tile_w + start.kernel_w - 1)
    block_channels = int(rng.integers(1, start.channels + 1))
    block_outputs = int(rng.integers(1, start.outputs + 1))
    n = block_channels * block_outputs * area
    packing = replace(
        start,
        tiles_h=ceil(start.out_h / tile_h),
        tiles_w=ceil(start.out_w / tile_w),
        tile_h=tile_h,
        tile_w=tile_w,
        block_channels=block_channels,
        block_outputs=block_outputs,
        poly_degree=n + int(rng.choice([0, 0, 1, 37])),  # no spare coefficient: the tightest wrap
    )
    return op, shape, packing


def reference(op, x, weight):
    return apply(op, [x[None]], {"c.weight": weight}, 64, exact_nonlinear)[0]


@pytest.mark.parametrize("seed", range(60))
def test_any_packing_computes_the_op(seed):
    rng = np.random.default_rng(seed)
    op, shape, packing = random_case(rng)
    x = rng.integers(-(2**62), 2**62, shape)
    weight = rng.integers(-2047, 2048, (op.out_channels, shape[0] // op.groups, *op.kernel)).astype(np.int16)
    assert np.array_equal(by_polynomials(packing, x, weight), reference(op, x, weight))


@pytest.mark.parametrize("seed", range(10))
def test_the_chosen_packing_computes_the_op(seed):
    rng = np.random.default_rng(100 + seed)
    op, shape, _ = random_case(rng)
    x = rng.integers(-(2**62), 2**62, shape)
    weight = rng.integers(-2047, 2048, (op.out_channels, shape[0] // op.groups, *op.kernel)).astype(np.int16)
    packing = choose(op, shape, degree(int(rng.choice([64, 128, 256]))), 32)
    assert np.array_equal(by_polynomials(packing, x, weight), reference(op, x, weight))


def test_linear():
    rng = np.random.default_rng(0)
    op = Linear("c", ("input",), 10, False, 12, 0)
    x, weight = rng.integers(-(2**62), 2**62, 50), rng.integers(-2047, 2048, (10, 50)).astype(np.int16)
    packing = choose(op, (50,), degree(64), 64)
    assert np.array_equal(by_polynomials(packing, x, weight)[:, 0, 0], reference(op, x, weight))


def test_a_map_larger_than_a_polynomial_is_tiled():
    rng = np.random.default_rng(0)
    op = conv("c", "input", 2, bias=False)
    packing = choose(op, (1, 64, 64), SMALL, 32)
    assert packing.tiles > 1
    x, weight = rng.integers(-(2**30), 2**30, (1, 64, 64)), rng.integers(-2047, 2048, (2, 1, 3, 3)).astype(np.int16)
    assert np.array_equal(by_polynomials(packing, x, weight), reference(op, x, weight))


def test_the_widest_kernel_fits():
    op = conv("c", "input", 3, 64, padding=32)
    packing = choose(op, (2, 70, 70), SMALL, 32)
    assert packing.area_h * packing.area_w <= 4096


@pytest.mark.parametrize("seed", range(20))
def test_bytes_counted_by_kind_are_the_bytes_of_each_response(seed):
    rng = np.random.default_rng(seed)
    _, _, packing = random_case(rng)
    parameters, ring_bits = degree(packing.poly_degree), int(rng.integers(2, 65))
    blocks = np.array([packing.block_channels]), np.array([packing.block_outputs])
    counted = _ciphertext_bytes(packing, *blocks, parameters, ring_bits)
    assert counted.tolist() == [packing.uploads * upload_bytes(parameters) + sum(response_bytes(packing, ring_bits))]


def brute_force(op, shape, parameters, ring_bits):
    """Fewest bytes over all tiles and blocks, by the plain formulas."""
    start = _polyphase(op, shape, parameters)
    best = None
    for tile_h in range(1, start.out_h + 1):
        for tile_w in range(1, start.out_w + 1):
            tiles_h, tiles_w = ceil(start.out_h / tile_h), ceil(start.out_w / tile_w)
            area = (tile_h + start.kernel_h - 1) * (tile_w + start.kernel_w - 1)
            for channels in range(1, start.channels + 1):
                for outputs in range(1, start.outputs + 1):
                    if channels * outputs * area > parameters.poly_degree:
                        continue
                    total = tiles_h * tiles_w * ceil(start.channels / channels) * upload_bytes(parameters)
                    for row in range(0, start.out_h, tile_h):
                        for column in range(0, start.out_w, tile_w):
                            for output in range(0, start.outputs, outputs):
                                useful = (
                                    min(tile_h, start.out_h - row)
                                    * min(tile_w, start.out_w - column)
                                    * min(outputs, start.outputs - output)
                                )
                                total += ceil(parameters.poly_degree * (ring_bits + 11) / 8)
                                total += ceil(useful * (ring_bits + 6) / 8)
                    best = total if best is None else min(best, total)
    return best


@pytest.mark.parametrize("seed", range(25))
def test_no_packing_has_fewer_bytes(seed):
    rng = np.random.default_rng(seed)
    op, shape, _ = random_case(rng)
    parameters, ring_bits = degree(int(rng.choice([32, 64, 128]))), int(rng.integers(2, 65))
    packing = choose(op, shape, parameters, ring_bits)
    assert packing.block_channels * packing.block_outputs * packing.area_h * packing.area_w <= parameters.poly_degree
    total = packing.uploads * upload_bytes(parameters) + sum(response_bytes(packing, ring_bits))
    assert total == brute_force(op, shape, parameters, ring_bits)


def test_packing_is_an_agreement():
    """What both sides compute must never drift: changing one of these numbers is a new version of the format."""
    p = packings(resnet18())
    chosen = {
        name: (q.tiles_h, q.tiles_w, q.tile_h, q.tile_w, q.block_channels, q.block_outputs, q.uploads, q.responses)
        for name, q in p.items()
    }
    assert chosen["stem"] == (1, 1, 32, 32, 1, 3, 3, 22)
    assert chosen["s1.0.conv1"] == (1, 1, 32, 32, 3, 1, 22, 64)
    assert chosen["s2.0.conv1"] == (1, 1, 16, 16, 7, 2, 37, 64)
    assert chosen["s2.0.shortcut"] == (1, 1, 16, 16, 4, 4, 16, 32)
    assert chosen["s4.1.conv2"] == (1, 1, 4, 4, 16, 7, 32, 74)
    assert chosen["classes"] == (1, 1, 1, 1, 256, 16, 2, 7)


def test_ciphertext_sizes():
    """4096 * 100 bits and a seed; 4096 * 43 bits and 38 bits for each of the useful 1024."""
    packing = packings(resnet18())["s1.0.conv1"]
    assert upload_bytes(SMALL) == 51216
    assert response_bytes(packing, 32)[0] == 22016 + 4864
    assert upload_bytes(PARAMETER_SETS["rlwe-8192"]) == 153616
