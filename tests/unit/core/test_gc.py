"""Garbling and the two ReLU protocols, against plain arithmetic and an independent evaluator, on every CPU path."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deepreduce import _core
from two_party import choose, fresh, garbled, ot_pair, split

pytestmark = pytest.mark.core
RINGS = [24, 32, 37, 41, 48, 64]


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
    """Tables of the fast garbler, evaluated by half gates written from the paper: the colors agree."""
    width, group = 4, 3
    sender, receiver, delta = ot_pair()
    rng = np.random.default_rng(5)
    a, b, r = (rng.integers(0, 16, 16, np.uint64) for _ in range(3))
    chosen = np.concatenate([_core.bit_slice(a, width), _core.bit_slice(r, width)], axis=1)
    zero, active = choose(sender, receiver, np.ascontiguousarray(chosen))
    key, seed = fresh(1), fresh(2)[:24]
    tables = np.empty(16 * 2 * (width - 1) * 32, np.uint8)
    decode = _core.circuit_garble("rescale", width, 0, delta, key, seed, group, zero, tables)
    labels = np.empty(16 * width * 16, np.uint8)
    _core.circuit_encode(width, delta, seed, group, b, labels)
    colors = _core.circuit_evaluate("rescale", width, 0, key, group, active, labels, tables)

    secret = int.from_bytes(key.tobytes(), "little")
    mine, theirs, rows = blocks(active), blocks(labels), blocks(tables)
    for i in range(16):
        gate = 0

        def conjunction(x: int, y: int, i: int = i) -> int:
            nonlocal gate
            number = group * 4 * (width - 1) + 2 * gate
            garbler_row, evaluator_row = rows[2 * gate * 16 + i], rows[(2 * gate + 1) * 16 + i]
            gate += 1
            out = hash_block(x, number, secret) ^ hash_block(y, number + 1, secret)
            return out ^ (garbler_row if x & 1 else 0) ^ (evaluator_row ^ x if y & 1 else 0)

        def add(first: list[int], second: list[int]) -> list[int]:
            carry, wires = 0, []
            for j, (x, y) in enumerate(zip(first, second, strict=True)):
                wires.append(x ^ y ^ carry)
                if j + 1 < width:
                    carry ^= conjunction(x ^ carry, y ^ carry)
            return wires

        z = add([mine[16 * j + i] for j in range(width)], [theirs[16 * j + i] for j in range(width)])
        difference = add(z, [mine[16 * (width + j) + i] for j in range(width)])  # negations are the garbler's
        for j, wire in enumerate(difference):
            assert wire & 1 == (int(colors[0, j]) >> i) & 1
            value = (wire ^ (int(decode.reshape(-1)[j]) >> i)) & 1
            assert value == ((int(a[i]) + int(b[i]) - int(r[i])) >> j) & 1


def test_garblings_never_repeat():
    """The same labels garbled under two hash keys share no table row."""
    sender, receiver, delta = ot_pair()
    zero, _ = choose(sender, receiver, np.zeros(16, np.uint16))
    rows = []
    seed = fresh(2)[:24]
    for _ in range(2):
        tables = np.empty(16 * 14 * 32, np.uint8)
        _core.circuit_garble("rescale", 8, 0, delta, fresh(1), seed, 0, zero, tables)
        rows.append(tables.reshape(-1, 16))
    assert len(np.unique(np.concatenate(rows), axis=0)) == 2 * 16 * 14 * 2


def test_a_vector_in_chunks_is_the_same_vector(cpu_path):
    """first_group continues the streams: two halves equal the whole."""
    sender, receiver, delta = ot_pair()
    zero, _ = choose(sender, receiver, np.zeros(4 * 16, np.uint16))
    key, seed = fresh(1), fresh(2)[:24]
    whole = np.empty(64 * 14 * 32, np.uint8)
    _core.circuit_garble("rescale", 8, 0, delta, key, seed, 0, zero, whole)
    halves = [np.empty(32 * 14 * 32, np.uint8) for _ in range(2)]
    for i, half in enumerate(halves):
        part = zero[i * 32 * 16 * 16 :][: 32 * 16 * 16].copy()
        _core.circuit_garble("rescale", 8, 0, delta, key, seed, 2 * i, part, half)
    assert np.array_equal(whole, np.concatenate(halves))


def test_bad_shapes_are_refused():
    delta = _core.Delta.random()
    with pytest.raises(ValueError, match="tables must have"):
        _core.circuit_garble("relu", 8, 0, delta, fresh(1), fresh(2)[:24], 0, fresh(256), np.empty(1, np.uint8))
    with pytest.raises(ValueError, match="multiple of 16"):
        _core.bit_slice(np.zeros(3, np.uint64), 4)
    with pytest.raises(ValueError, match="width must be"):
        _core.bit_slice(np.zeros(16, np.uint64), 65)
    with pytest.raises(ValueError, match="shift must be"):
        _core.circuit_garble("relu", 8, 7, delta, fresh(1), fresh(2)[:24], 0, fresh(256), np.empty(0, np.uint8))
    with pytest.raises(ValueError, match="unknown circuit"):
        _core.circuit_garble("max", 8, 1, delta, fresh(1), fresh(2)[:24], 0, fresh(256), np.empty(0, np.uint8))
