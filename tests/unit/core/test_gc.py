"""Garbling and the two ReLU protocols, against plain arithmetic and an independent evaluator, on every CPU path."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deepreduce import _core
from two_party import choose, fresh, fused_relu, garbled, ot_pair, split

pytestmark = pytest.mark.core
RINGS = [24, 32, 37, 41, 48, 64]


@pytest.mark.parametrize(
    ("ring_bits", "shift", "window"), [(10, 0, 10), (10, 3, 10), (12, 4, 11), (10, 9, 10), (9, 2, 3)]
)
@pytest.mark.long
def test_fused_exhaustively(cpu_path, ring_bits, shift, window):
    """All y of the window, many shares each: strictly within one unit, exact where 2^f divides y, unbiased per y."""
    shares = 192
    bound = 2 ** (window - 1) - 2**shift
    values = np.arange(-bound, bound + 1)
    y = np.repeat(values, shares)
    z = fused_relu(*split(y, ring_bits, np.random.default_rng(1)), ring_bits, shift, window, ot_pair(), ot_pair())
    error = z - np.maximum(y, 0) / 2**shift
    assert np.abs(error).max() < 1
    assert not error[(y % 2**shift == 0) | (y <= 0)].any()
    # Per y a Bernoulli error of variance at most 1/4; 6.5 standard deviations over some thousand means (1e-7).
    assert np.abs(error.reshape(values.size, shares).mean(1)).max() < 6.5 * 0.5 / np.sqrt(shares)


@pytest.mark.parametrize("ring_bits", RINGS)
@pytest.mark.parametrize("shift", [0, 1, 12])
def test_fused_statistically(ring_bits, shift):
    """400k values over the whole window at large l: errors 0 or 1 against the floor, with the right frequency."""
    rng = np.random.default_rng(ring_bits * 100 + shift)
    bound = 2 ** (ring_bits - 1) - 2**shift
    size = 400_000 if ring_bits in (32, 41) else 50_000
    y = rng.integers(-bound, bound, size, np.int64, endpoint=True)
    z = fused_relu(*split(y, ring_bits, rng), ring_bits, shift, ring_bits, ot_pair(), ot_pair())
    over = z - (np.maximum(y, 0) >> shift)
    assert np.isin(over, (0, 1)).all()
    chance = np.where(y > 0, (y % 2**shift) / 2**shift, 0.0)
    assert not over[chance == 0].any()
    assert abs((over - chance).mean()) < 6 * 0.5 / np.sqrt(size)


@pytest.mark.parametrize("circuit", ["relu", "rescale"])
@pytest.mark.parametrize(("ring_bits", "shift"), [(8, 0), (8, 3), (8, 6), (2, 0), (3, 1)])
def test_circuits_exhaustively(cpu_path, circuit, ring_bits, shift):
    """All pairs of shares at small l, against plain arithmetic."""
    a, b = (x.reshape(-1).astype(np.uint64) for x in np.meshgrid(*[np.arange(2**ring_bits)] * 2))
    half = 2 ** (ring_bits - 1)
    y = ((a + b).astype(np.int64) + half) % (2 * half) - half
    expected = (np.maximum(y, 0) if circuit == "relu" else y) >> shift
    assert np.array_equal(garbled(circuit, a, b, ring_bits, shift, ot_pair()), expected)


@settings(max_examples=25, deadline=None)
@given(ring_bits=st.sampled_from(RINGS), data=st.data())
def test_circuits_at_every_ring(ring_bits, data):
    shift = data.draw(st.integers(0, ring_bits - 2))
    circuit = data.draw(st.sampled_from(["relu", "rescale"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    y = rng.integers(-(2 ** (ring_bits - 1)), 2 ** (ring_bits - 1) - 1, 100, np.int64, endpoint=True)
    expected = (np.maximum(y, 0) if circuit == "relu" else y) >> shift
    assert np.array_equal(garbled(circuit, *split(y, ring_bits, rng), ring_bits, shift, ot_pair(), threads=2), expected)


@settings(max_examples=25, deadline=None)
@given(ring_bits=st.sampled_from(RINGS), data=st.data())
def test_fused_with_any_shift_and_window(ring_bits, data):
    shift = data.draw(st.integers(0, ring_bits - 2))
    window = data.draw(st.integers(shift + 1, ring_bits))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    bound = 2 ** (window - 1) - 2**shift
    y = rng.integers(-bound, bound, 100, np.int64, endpoint=True) if bound > 0 else np.zeros(100, np.int64)
    z = fused_relu(*split(y, ring_bits, rng), ring_bits, shift, window, ot_pair(), ot_pair(), threads=2)
    assert np.isin(z - (np.maximum(y, 0) >> shift), (0, 1)).all()


# --- an independent evaluator, gate by gate in Python, with AES as the only primitive ---


def aes(key: int, block: int) -> int:
    data = np.frombuffer(key.to_bytes(16, "little"), np.uint8)
    return int.from_bytes(_core.aes_ctr(data, block & (2**64 - 1), block >> 64, 1).tobytes(), "little")


def sigma(x: int) -> int:
    left, right = x >> 64, x & (2**64 - 1)
    return ((left ^ right) << 64) | left


def hash_block(x: int, number: int, key: int) -> int:
    tweaked = aes(key, number)
    return aes(tweaked, sigma(x)) ^ sigma(x)


def blocks(data: np.ndarray) -> list[int]:
    return [int.from_bytes(row.tobytes(), "little") for row in data.reshape(-1, 16)]


def test_evaluation_as_published(cpu_path):
    """Tables of the fast garbler, evaluated by half gates written from the paper: colors and pads agree."""
    width, group = 4, 3
    sender, receiver, delta = ot_pair()
    rng = np.random.default_rng(5)
    a = rng.integers(0, 16, 16, np.uint64)
    b = rng.integers(0, 16, 16, np.uint64)
    zero, active = choose(sender, receiver, _core.bit_slice(a, width))
    key, seed = fresh(1), fresh(1)
    tables = np.empty(16 * (width - 1) * 32, np.uint8)
    pads, lam, color = _core.sign_garble(delta, key, seed, group, width, zero, tables)
    labels = np.empty(16 * width * 16, np.uint8)
    nothing = np.zeros(16, np.uint64)
    # Elements equal to the pads' own masks: with all inputs zero the client's opening is the pad xor the element.
    elements = _core.sign_respond(
        delta, seed, group, 64, width, b, np.zeros_like(pads), lam, color, nothing, nothing, labels
    )
    opened = _core.sign_evaluate(
        key, group, 64, width, active, labels, tables, np.zeros_like(elements), nothing, nothing, nothing
    )

    secret = int.from_bytes(key.tobytes(), "little")
    mine, theirs, rows = blocks(active), blocks(labels), blocks(tables)
    for i in range(16):
        number = group * 2 * width
        carry = 0
        for j in range(width):
            x, y = mine[16 * j + i], theirs[16 * j + i]
            sign = x ^ y ^ carry
            if j == width - 1:
                break
            p, q = x ^ carry, y ^ carry
            garbler_row, evaluator_row = rows[(2 * j) * 16 + i], rows[(2 * j + 1) * 16 + i]
            out = hash_block(p, number, secret) ^ hash_block(q, number + 1, secret)
            out ^= garbler_row if p & 1 else 0
            out ^= evaluator_row ^ p if q & 1 else 0
            carry = carry ^ out if j else out
            number += 2
        top = mine[16 * (width - 1) + i]
        pad = hash_block(sigma(sigma(sign)) ^ sigma(top), number, secret) & (2**64 - 1)
        assert int(opened[i]) == pad
        slot = 2 * (sign & 1) + (top & 1)
        assert int(pads[0, slot, i]) == pad
        positive = ((int(a[i]) + int(b[i])) & 15) < 8
        assert (sign & 1) == (int(positive) ^ ((int(lam[0]) >> i) & 1))
        assert (top & 1) == ((int(a[i]) >> 3) ^ ((int(color[0]) >> i) & 1))


def test_pads_differ_for_every_pair_of_labels():
    """The four pads of a ReLU are different, and so are those of different ReLUs and groups."""
    sender, receiver, delta = ot_pair()
    zero, _ = choose(sender, receiver, np.zeros(4 * 8, np.uint16))
    pads, _, _ = _core.sign_garble(delta, fresh(1), fresh(1), 0, 8, zero, np.empty(64 * 7 * 32, np.uint8))
    assert len(np.unique(pads)) == pads.size


def test_garblings_never_repeat():
    """The same labels garbled under two hash keys share no table row."""
    sender, receiver, delta = ot_pair()
    zero, _ = choose(sender, receiver, np.zeros(8, np.uint16))
    rows = []
    seed = fresh(1)
    for _ in range(2):
        tables = np.empty(16 * 7 * 32, np.uint8)
        _core.sign_garble(delta, fresh(1), seed, 0, 8, zero, tables)
        rows.append(tables.reshape(-1, 16))
    assert len(np.unique(np.concatenate(rows), axis=0)) == 2 * 16 * 7 * 2


def test_a_vector_in_chunks_is_the_same_vector(cpu_path):
    """first_group continues the streams: two halves equal the whole."""
    sender, receiver, delta = ot_pair()
    zero, _ = choose(sender, receiver, np.zeros(4 * 8, np.uint16))
    key, seed = fresh(1), fresh(1)
    whole = np.empty(64 * 7 * 32, np.uint8)
    _core.sign_garble(delta, key, seed, 0, 8, zero, whole)
    halves = [np.empty(32 * 7 * 32, np.uint8) for _ in range(2)]
    for i, half in enumerate(halves):
        _core.sign_garble(delta, key, seed, 2 * i, 8, zero[i * 32 * 8 * 16 :][: 32 * 8 * 16].copy(), half)
    assert np.array_equal(whole, np.concatenate(halves))


def test_bad_shapes_are_refused():
    delta = _core.Delta.random()
    with pytest.raises(ValueError, match="tables must have"):
        _core.sign_garble(delta, fresh(1), fresh(1), 0, 8, fresh(128), np.empty(1, np.uint8))
    with pytest.raises(ValueError, match="multiple of 16"):
        _core.bit_slice(np.zeros(3, np.uint64), 4)
    with pytest.raises(ValueError, match="width must be"):
        _core.bit_slice(np.zeros(16, np.uint64), 65)
    with pytest.raises(ValueError, match="shift must be"):
        _core.circuit_garble("relu", 8, 7, delta, fresh(1), fresh(1), 0, fresh(256), np.empty(0, np.uint8))
    with pytest.raises(ValueError, match="unknown circuit"):
        _core.circuit_garble("max", 8, 1, delta, fresh(1), fresh(1), 0, fresh(256), np.empty(0, np.uint8))
