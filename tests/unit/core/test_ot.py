"""OT extension and what is made of it, against their definitions, on every CPU path."""

import numpy as np
import pytest

from deepreduce import _core
from two_party import choose, fresh, ot_pair

pytestmark = pytest.mark.core


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("count", [128, 2048, 2176, 5120])
def test_extension_meets_its_definition(cpu_path, k, count):
    """t_i = q_i xor c_i Delta, q_i all different, also over several calls of uneven sizes (IKNP is k = 1)."""
    rng = np.random.default_rng(count + k)
    sender, receiver, delta = ot_pair(k)
    delta_bytes = np.packbits(delta.bits(), bitorder="little")
    assert delta.bits()[0] == 1
    seen = []
    for _ in range(3):
        bits = rng.integers(0, 2**16, count // 16, np.uint16)
        zero, active = choose(sender, receiver, bits)
        choice = np.unpackbits(bits.view(np.uint8), bitorder="little")
        assert np.array_equal(active.reshape(-1, 16), zero.reshape(-1, 16) ^ (choice[:, None] * delta_bytes))
        seen.append(zero.reshape(-1, 16))
    assert len(np.unique(np.concatenate(seen), axis=0)) == 3 * count


def test_threads_and_paths_give_the_same_ots():
    """The same pads and choices on every path and with two threads: the same bytes."""
    pads = fresh(256)
    choices = fresh(2048 * 5 // 128)
    results = []
    # The tree's roots are fresh per receiver: one receiver cannot be rewound, so compare through the sender instead.
    for path in _core.cpu_paths():
        _core.select_cpu_path(path)
        for threads in (1, 2):
            delta = _core.Delta.random()
            receiver = _core.OtReceiver(4, pads)
            chosen = np.ascontiguousarray(pads.reshape(128, 2, 16)[np.arange(128), delta.bits()]).reshape(-1)
            sender = _core.OtSender(4, delta, chosen, receiver.set_up)
            out = np.empty(choices.size * 8 * 16, np.uint8)
            correction = receiver.extend(choices, out, threads)
            other = _core.cpu_paths()[0]
            _core.select_cpu_path(other)
            zero = sender.extend(choices.size * 8, correction, 1).reshape(-1, 16)
            _core.select_cpu_path(path)
            bits = np.unpackbits(choices, bitorder="little")[:, None]
            results.append(
                np.array_equal(out.reshape(-1, 16), zero ^ bits * np.packbits(delta.bits(), bitorder="little"))
            )
    _core.select_cpu_path(_core.cpu_paths()[-1])
    assert all(results)


def test_corrections_look_uniform():
    """The receiver's message of all-zero choices has as many ones as zeros: 6 standard deviations (2e-9)."""
    _, receiver, _ = ot_pair()
    out = np.empty(2**17 * 16, np.uint8)
    correction = receiver.extend(np.zeros(2**14, np.uint8), out)
    ones = int(np.unpackbits(correction).sum())
    assert abs(ones - correction.size * 4) < 6 * np.sqrt(correction.size * 2)


def test_bad_lengths_are_refused():
    sender, receiver, delta = ot_pair()
    with pytest.raises(ValueError, match=r"blocks of 128 up to 2\^32, not 8"):
        receiver.extend(np.zeros(1, np.uint8), np.empty(128, np.uint8))
    with pytest.raises(ValueError, match="correction must have 512 elements, not 511"):
        sender.extend(128, np.zeros(511, np.uint8))
    with pytest.raises(ValueError, match="k must be 1, 2 or 4, not 3"):
        _core.OtReceiver(3, fresh(256))
    with pytest.raises(ValueError, match="set_up must have 4112 elements"):
        _core.OtSender(4, delta, fresh(128), np.zeros(1, np.uint8))


@pytest.mark.parametrize("bits", [1, 8, 32, 37, 64])
def test_products(cpu_path, bits):
    """Shares of choice * value, both choices, and a key that is part of the result."""
    rng = np.random.default_rng(bits)
    sender, receiver, delta = ot_pair()
    choices = rng.integers(0, 2**16, 64, np.uint16)
    values = _core.random_ring(1024, bits)
    q, t = choose(sender, receiver, choices)
    mask = np.uint64(2**bits - 1)
    outputs = []
    for key in (fresh(1), fresh(1)):
        message, w = _core.product_send(key, 5, bits, delta, q, values)
        u = _core.product_receive(key, 5, bits, t, choices.view(np.uint8), message)
        chosen = np.unpackbits(choices.view(np.uint8), bitorder="little").astype(np.uint64)
        assert np.array_equal((u + w) & mask, values * chosen)
        outputs.append(message)
    assert bits == 1 or not np.array_equal(*outputs)


def test_a_delta_goes_through_bytes():
    """For stores: the same choice bits; what no Delta is, is refused."""
    delta = _core.Delta.random()
    content = delta.to_bytes()
    assert content.shape == (16,)
    assert np.array_equal(_core.Delta.from_bytes(content).bits(), delta.bits())
    for wrong in (content ^ np.eye(1, 16, dtype=np.uint8)[0], content[:15]):
        with pytest.raises(ValueError, match=r"Delta|delta"):
            _core.Delta.from_bytes(np.ascontiguousarray(wrong))
