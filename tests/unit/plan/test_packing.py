"""Packings against slow polynomial products in Z[X]/(X^N + 1), and the choice against brute force."""

from dataclasses import replace
from math import ceil

import numpy as np
import pytest

from deepreduce.errors import PlanError
from deepreduce.plan import PARAMETER_SETS, Conv, Linear, ParameterSet, packings
from deepreduce.plan.execution.packing import (
    Blocks,
    _computing,
    _polyphase,
    _response_bytes,
    _upload_bytes,
    choose,
    packing_levels,
    response_bytes,
    upload_bytes,
)
from deepreduce.plan.execution.polynomials import (
    noise_norm,
    pack_input,
    pack_weights,
    useful_coefficients,
    weight_polynomial,
)
from deepreduce.plan.reference import apply, exact_nonlinear
from plan_samples import conv, negacyclic, resnet18

SMALL = PARAMETER_SETS["rlwe-4096"]


def degree(n):
    return ParameterSet("test", n, 2, 2, 32)


def automorphism(x, level):
    """x(X^(N / 2^level + 1)) in Z[X] / (X^N + 1)."""
    n = len(x)
    moved = np.arange(n) * ((n >> level) + 1) % (2 * n)
    result = np.zeros_like(x)
    np.add.at(result, moved % n, np.where(moved < n, x, -x))
    return result


def packed_products(packing, products):
    """One response out of its products, times P: halving, which integers modulo 2^64 do not have, is left out."""
    merged = [(p, index) for index, p in enumerate(products)]
    for merge, level in enumerate(packing.levels):
        spacing, apart = packing.block_channels >> (merge + 1), packing.packed >> (merge + 1)
        shift = np.zeros(packing.poly_degree, dtype=np.uint64)
        shift[spacing] = 1
        pairs = [[p for p, index in merged if index % apart == rest] for rest in range(apart)]
        merged = []
        for rest, pair in enumerate(pairs):
            first, second = (*pair, *[np.zeros(packing.poly_degree, dtype=np.uint64)] * 2)[:2]
            second = negacyclic(second, shift)
            merged.append((first + second + automorphism(first - second, level), rest))
    return merged[0][0]


def by_polynomials(packing, x, weight):
    """The op's output times P through the packing, every product by the definition of the ring."""
    uploads, weights = pack_input(packing, x.astype(np.uint64)), pack_weights(packing, weight)
    assert uploads.shape == (packing.uploads, packing.poly_degree)
    output, count = np.zeros(packing.outputs * packing.out_h * packing.out_w, dtype=np.uint64), 0
    seen = np.zeros(len(output), dtype=int)
    for response in range(packing.responses):
        tile, index = divmod(response, packing.tile_responses)
        products = []
        for block in range(packing.packed):
            output_block = index * packing.packed + block
            if output_block >= packing.output_blocks:
                break
            total = np.zeros(packing.poly_degree, dtype=np.uint64)
            for channel_block in packing.meeting(output_block):
                polynomial = weight_polynomial(packing, weights, output_block, channel_block)
                upload = uploads[tile * packing.channel_blocks + channel_block]
                total += negacyclic(polynomial.astype(np.int64).view(np.uint64), upload)
                count += 1
            products.append(total)
        positions, places = useful_coefficients(packing, response)
        assert (np.diff(positions) > 0).all()
        assert len(positions) == packing.useful[response]
        output[places] = packed_products(packing, products)[positions]
        seen[places] += 1
    assert count == packing.products
    assert (seen == 1).all()
    return output.view(np.int64).reshape(packing.outputs, packing.out_h, packing.out_w)


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
    packed = 1 << int(rng.integers(0, 4))
    block_channels = packed * int(rng.integers(1, -(-start.channels // packed) + 1))
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
        packed=packed,
        # No spare coefficient: the tightest wrap. Automorphisms are of powers of two.
        poly_degree=n + int(rng.choice([0, 0, 1, 37])) if packed == 1 else 1 << (n - 1).bit_length(),
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
    assert np.array_equal(by_polynomials(packing, x, weight), packing.packed * reference(op, x, weight))


@pytest.mark.parametrize("seed", range(20))
def test_the_chosen_packing_computes_the_op(seed):
    rng = np.random.default_rng(100 + seed)
    op, shape, _ = random_case(rng)
    x = rng.integers(-(2**62), 2**62, shape)
    weight = rng.integers(-2047, 2048, (op.out_channels, shape[0] // op.groups, *op.kernel)).astype(np.int16)
    packing = choose(op, shape, degree(int(rng.choice([64, 128, 256]))), 32, int(rng.choice([10**6, 10**8, 10**9])))
    assert np.array_equal(by_polynomials(packing, x, weight), packing.packed * reference(op, x, weight))


def test_linear():
    rng = np.random.default_rng(0)
    op = Linear("c", ("input",), 10, False, 12, 0)
    x, weight = rng.integers(-(2**62), 2**62, 50), rng.integers(-2047, 2048, (10, 50)).astype(np.int16)
    packing = choose(op, (50,), degree(64), 64)
    assert np.array_equal(by_polynomials(packing, x, weight)[:, 0, 0], packing.packed * reference(op, x, weight))


def test_a_map_larger_than_a_polynomial_is_tiled():
    rng = np.random.default_rng(0)
    op = conv("c", "input", 2, bias=False)
    packing = choose(op, (1, 64, 64), SMALL, 32)
    assert packing.tiles > 1
    x, weight = rng.integers(-(2**30), 2**30, (1, 64, 64)), rng.integers(-2047, 2048, (2, 1, 3, 3)).astype(np.int16)
    assert np.array_equal(by_polynomials(packing, x, weight), packing.packed * reference(op, x, weight))


def test_the_widest_kernel_fits():
    op = conv("c", "input", 3, 64, padding=32)
    packing = choose(op, (2, 70, 70), SMALL, 32)
    assert packing.area_h * packing.area_w <= 4096


@pytest.mark.parametrize("seed", range(20))
def test_bytes_counted_by_kind_are_the_bytes_of_each_response(seed):
    rng = np.random.default_rng(seed)
    _, _, packing = random_case(rng)
    parameters, ring_bits = degree(packing.poly_degree), int(rng.integers(2, 65))
    blocks = blocks_of(packing)
    assert _upload_bytes(packing, blocks, parameters).tolist() == [packing.uploads * upload_bytes(parameters)]
    assert _response_bytes(packing, blocks, ring_bits).tolist() == [sum(response_bytes(packing, ring_bits))]


def blocks_of(packing):
    return Blocks(*(np.array([size]) for size in (packing.block_channels, packing.block_outputs, packing.packed)))


def brute_force(op, shape, parameters, ring_bits, link_rate):
    """Least picoseconds over all tiles, blocks and numbers of packed products, response by response."""
    start = _polyphase(op, shape, parameters)
    best = None
    for tile_h in range(1, start.out_h + 1):
        for tile_w in range(1, start.out_w + 1):
            area = (tile_h + start.kernel_h - 1) * (tile_w + start.kernel_w - 1)
            for channels in range(1, parameters.poly_degree // area + 1):
                for outputs in range(1, start.outputs + 1):
                    for packed in (1 << merges for merges in range(channels.bit_length())):
                        if channels * outputs * area > parameters.poly_degree or channels % packed:
                            continue
                        packing = replace(
                            start,
                            tiles_h=ceil(start.out_h / tile_h),
                            tiles_w=ceil(start.out_w / tile_w),
                            tile_h=tile_h,
                            tile_w=tile_w,
                            block_channels=channels,
                            block_outputs=outputs,
                            packed=packed,
                        )
                        total = cost(packing, parameters, ring_bits, link_rate)
                        best = total if best is None else min(best, total)
    return best


def cost(packing, parameters, ring_bits, link_rate):
    up, down = packing.uploads * upload_bytes(parameters), sum(response_bytes(packing, ring_bits))
    parts = [float(party[0]) for party in _computing(packing, blocks_of(packing), parameters)]
    parts += [8e9 / link_rate * up, 8e9 / link_rate * down]
    return 4 * max(parts) + sum(parts)


@pytest.mark.parametrize("seed", range(25))
def test_no_packing_is_faster(seed):
    rng = np.random.default_rng(seed)
    op, shape, _ = random_case(rng)
    parameters, ring_bits = degree(int(rng.choice([32, 64, 128]))), int(rng.integers(2, 65))
    rate = int(rng.choice([10**6, 10**8, 10**9, 10**11]))
    packing = choose(op, shape, parameters, ring_bits, rate)
    assert packing.block_channels * packing.block_outputs * packing.area_h * packing.area_w <= parameters.poly_degree
    assert cost(packing, parameters, ring_bits, rate) == brute_force(op, shape, parameters, ring_bits, rate)


def test_slower_links_get_fewer_bytes():
    op, shape = conv("c", "input", 256, 3, padding=1), (256, 4, 4)
    sizes = []
    for rate in (10**11, 10**9, 10**8, 10**7):
        packing = choose(op, shape, SMALL, 32, rate)
        sizes.append(packing.uploads * upload_bytes(SMALL) + sum(response_bytes(packing, 32)))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 3


def test_computing_counts_what_there_is():
    """The time of a candidate is that of its uploads, products, sums, merges and responses."""
    packing = choose(conv("c", "input", 256, 3, padding=1), (256, 4, 4), SMALL, 32, 10**8)
    assert packing.merges == packing.output_blocks - packing.tile_responses > 0
    server = 14 * packing.uploads + 6.8 * packing.products + 48 * packing.sums
    server += 60 * packing.merges + 28 * packing.responses
    client = 40 * packing.uploads + 15 * packing.responses
    for party, microseconds in zip(_computing(packing, blocks_of(packing), SMALL), (server, client), strict=True):
        assert party[0] == pytest.approx(1e3 * microseconds)


@pytest.mark.parametrize("rate", [10**6, 10**11])
@pytest.mark.parametrize("name", ["rlwe-4096", "rlwe-8192"])
@pytest.mark.parametrize(("channels", "outputs", "side"), [(64, 64, 224), (128, 128, 112), (64, 64, 512)])
def test_large_ops_get_layouts_of_few_uploads(channels, outputs, side, name, rate):
    """Times of bad candidates are far beyond 2^63 picoseconds: they must not wrap around to small ones."""
    packing = choose(conv("c", "input", outputs, 3, padding=1), (channels, side, side), PARAMETER_SETS[name], 41, rate)
    fewest = channels * side * side / packing.poly_degree
    assert packing.uploads < 30 * fewest
    assert packing.responses < 30 * outputs * side * side / packing.poly_degree


@pytest.mark.parametrize("rate", [10**6, 10**9, 10**11])
def test_the_largest_matrices(rate):
    """A tile has at most the uploads whose products can be summed up; what has one input packs no zeros."""
    wide = choose(Linear("c", ("input",), 16, False, 12, 0), (4000 * 4096,), SMALL, 32, rate)
    assert wide.channel_blocks <= 4094
    with pytest.raises(PlanError, match="16777216 channels"):
        choose(Linear("c", ("input",), 16, False, 12, 0), (2**24,), SMALL, 32, rate)
    tall = choose(Linear("c", ("input",), 2**24, False, 12, 0), (16,), SMALL, 32, rate)
    assert tall.responses < 2**24 / 200


def test_the_budget_of_the_flood_counts_what_an_upload_brings():
    """Errors of an upload are on all coefficients, so an output's noise is that of all weights of its product."""
    rng = np.random.default_rng(1)
    op = conv("c", "input", 8, 3)
    start = _polyphase(op, (4, 5, 5), degree(2048))
    whole = {"tiles_h": 1, "tiles_w": 1, "tile_h": start.out_h, "tile_w": start.out_w}
    packing = replace(start, **whole, block_channels=4, block_outputs=8)
    weight = rng.integers(-2047, 2048, (8, 4, 3, 3)).astype(np.int16)
    polynomial = weight_polynomial(packing, pack_weights(packing, weight), 0, 0).astype(np.int64).view(np.uint64)
    positions, _ = useful_coefficients(packing, 0)
    total = 0.0
    for _ in range(40):
        errors = rng.binomial(42, 0.5, 2048) - 21
        noise = negacyclic(polynomial, errors.view(np.uint64)).view(np.int64)[positions]
        total += float((noise.astype(float) ** 2).sum()) / 40
    assert total == pytest.approx(10.5 * noise_norm(packing, weight), rel=0.2)


def test_packing_is_an_agreement():
    """What both sides compute must never drift: changing one of these numbers is a new version of the protocol."""

    def chosen(plan, name):
        q = packings(plan)[name]
        blocks = q.block_channels, q.block_outputs, q.packed
        return (q.tiles_h, q.tiles_w, q.tile_h, q.tile_w, *blocks, q.uploads, q.responses)

    lan, wan = resnet18(), replace(resnet18(), link_rate=10**8)
    assert chosen(lan, "stem") == (1, 1, 32, 32, 1, 3, 1, 3, 22)
    assert chosen(lan, "s1.0.conv1") == (1, 1, 32, 32, 3, 1, 1, 22, 64)
    assert chosen(lan, "s2.0.conv1") == (1, 1, 16, 16, 7, 2, 1, 37, 64)
    assert chosen(lan, "s2.0.shortcut") == (1, 1, 16, 16, 4, 4, 4, 16, 8)
    assert chosen(lan, "s4.1.conv2") == (1, 1, 4, 4, 14, 8, 2, 37, 32)
    assert chosen(lan, "classes") == (1, 1, 1, 1, 256, 16, 8, 2, 1)
    assert chosen(wan, "s1.0.conv1") == (3, 1, 11, 32, 8, 1, 8, 24, 24)
    assert chosen(wan, "s2.0.conv1") == (1, 1, 16, 16, 12, 1, 4, 22, 32)
    assert chosen(wan, "s2.0.shortcut") == (1, 1, 16, 16, 16, 1, 16, 4, 8)
    assert chosen(wan, "s4.1.conv2") == (1, 1, 4, 4, 48, 2, 16, 11, 16)
    assert packing_levels(lan) == [0, 1, 2, 3, 5, 6, 7]
    assert packing_levels(wan) == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_ciphertext_sizes():
    """4096 * 100 bits and a seed; 4096 * 44 bits and 38 bits for each of the useful 1024."""
    packing = packings(resnet18())["s1.0.conv1"]
    assert upload_bytes(SMALL) == 51216
    assert response_bytes(packing, 32)[0] == 22528 + 4864
    assert upload_bytes(PARAMETER_SETS["rlwe-8192"]) == 153616
