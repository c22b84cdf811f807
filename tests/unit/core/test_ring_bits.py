"""Bit packing against Python's big integers."""

import numpy as np
import pytest

from deepreduce import _core

pytestmark = pytest.mark.core


def packed(values, bits):
    stream = sum((int(value) % 2**bits) << (i * bits) for i, value in enumerate(values))
    return np.frombuffer(stream.to_bytes((len(values) * bits + 7) // 8, "little"), np.uint8)


@pytest.mark.parametrize("bits", range(1, 65))
def test_every_width_and_many_lengths(bits):
    rng = np.random.default_rng(bits)
    for n in [*range(20), 63, 64, 65, 200]:
        values = rng.integers(0, 2**64 - 1, n, dtype=np.uint64, endpoint=True)  # the bits above the width do not count
        data = _core.pack(values, bits)
        np.testing.assert_array_equal(data, packed(values, bits))
        out = np.full(len(data), 0xAA, np.uint8)
        _core.pack_into(values, bits, out)
        np.testing.assert_array_equal(out, data)
        np.testing.assert_array_equal(_core.unpack(data, n, bits), values & np.uint64(2**bits - 1))


@pytest.mark.parametrize("bits", (1, 3, 8, 12, 37, 64))
def test_the_length_is_exact(bits):
    data = _core.pack(np.zeros(9, np.uint64), bits)
    for wrong in (data[:-1], np.append(data, np.uint8(0))):
        with pytest.raises(ValueError, match=f"data's length is {len(wrong)}, must be {len(data)}"):
            _core.unpack(wrong, 9, bits)
        with pytest.raises(ValueError, match="out's length"):
            _core.pack_into(np.zeros(9, np.uint64), bits, wrong)


@pytest.mark.parametrize(("n", "bits"), [(1, 1), (9, 1), (3, 5), (2, 63)])
def test_padding_must_be_zero(n, bits):
    data = _core.pack(np.full(n, 2**bits - 1, np.uint64), bits)
    assert len(_core.unpack(data, n, bits)) == n
    for bit in range(n * bits % 8, 8):
        changed = data.copy()
        changed[-1] |= np.uint8(1 << bit)
        with pytest.raises(ValueError, match="bits after the last value"):
            _core.unpack(changed, n, bits)


def test_bad_arguments():
    values, data = np.zeros(4, np.uint64), np.zeros(4, np.uint8)
    for bits in (0, 65, -1):
        with pytest.raises(ValueError, match="bits is"):
            _core.pack(values, bits)
        with pytest.raises(ValueError, match="bits is"):
            _core.unpack(data, 4, bits)
    with pytest.raises(ValueError, match="n is -1"):
        _core.unpack(data, -1, 8)
    with pytest.raises(ValueError, match="n is"):
        _core.unpack(data, 2**62, 8)
    with pytest.raises(ValueError, match="dimensions"):
        _core.pack(values.reshape(2, 2), 8)
    read_only = np.zeros(4, np.uint8)
    read_only.setflags(write=False)
    with pytest.raises(TypeError):
        _core.pack_into(values, 8, read_only)
