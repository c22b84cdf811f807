"""AES against FIPS 197 and against itself on every CPU path."""

import numpy as np
import pytest

from deepreduce import _core

pytestmark = pytest.mark.core


def block(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), np.uint8)


# FIPS 197 appendix C.1, and SP 800-38A F.1.1 (two blocks of its four).
KNOWN = [
    ("000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"),
    ("2b7e151628aed2a6abf7158809cf4f3c", "6bc1bee22e409f96e93d7e117393172a", "3ad77bb40d7a3660a89ecaf32466ef97"),
    ("2b7e151628aed2a6abf7158809cf4f3c", "ae2d8a571e03ac9c9eb76fac45af8e51", "f5d3d58503b9699de785895a96fdbaaf"),
]


@pytest.mark.parametrize(("key", "plain", "cipher"), KNOWN)
def test_known_answers(cpu_path, key, plain, cipher):
    low, high = (int(word) for word in block(plain).view(np.uint64))
    assert _core.aes_ctr(block(key), low, high, 1).tobytes().hex() == cipher


@pytest.mark.parametrize("count", [1, 15, 16, 17, 32, 100])
def test_paths_agree_and_counters_continue(cpu_path, count):
    key = block("2b7e151628aed2a6abf7158809cf4f3c")
    here = _core.aes_ctr(key, 7, 3, count)
    _core.select_cpu_path("scalar")
    assert np.array_equal(here, _core.aes_ctr(key, 7, 3, count))
    one_by_one = np.concatenate([_core.aes_ctr(key, 7 + i, 3, 1) for i in range(count)])
    assert np.array_equal(here, one_by_one)


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_the_benchmark_really_encrypts(cpu_path, calls):
    blocks = np.array([(i, 0) for i in range(32)], np.uint64)
    for _ in range(calls):
        blocks = np.array([_core.aes_ctr(np.zeros(16, np.uint8), *map(int, b), 1).view(np.uint64)[0] for b in blocks])
    assert np.array_equal(_core.bench_aes(32 * calls), np.bitwise_xor.reduce(blocks).view(np.uint8))


def test_the_benchmark_refuses_part_of_a_step():
    with pytest.raises(ValueError, match="multiple of 32, not 33"):
        _core.bench_aes(33)


def test_a_seed_of_another_length_is_refused():
    with pytest.raises(ValueError, match="seed must be 16 bytes, not 15"):
        _core.aes_ctr(np.zeros(15, np.uint8), 0, 0, 1)


def test_random_ring_is_fresh_and_in_range():
    a, b = _core.random_ring(1000, 24), _core.random_ring(1000, 24)
    assert a.max() < 2**24
    assert (a != b).mean() > 0.99
    # mean of 1000 uniforms: 6 standard deviations
    assert abs(a.mean() / 2**24 - 0.5) < 6 / np.sqrt(12 * 1000)
