"""ReLU and Rescale by tables of transfers: exact for every share, at every width; sizes as agreed; restored."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deepreduce import _core
from deepreduce.errors import SettingError
from deepreduce.inference.protocol.nonlinear.registry import client_vector, server_vector
from deepreduce.inference.protocol.nonlinear.vector import bound_key, vector_salts
from deepreduce.plan.execution.comparison import comparison
from deepreduce.plan.execution.messages import check_protocol, relu_vector, rescale_vector
from two_party import fresh, ot_pair, run_vector, signed, split

pytestmark = pytest.mark.core

RINGS = [8, 16, 24, 32, 33, 41, 64]


def relu(y, ring_bits, shift, window):
    """max(0, floor(y / 2^shift)) of the low ``window`` bits of y: a function of y alone, outside the window, too."""
    width = window - shift
    low = signed((y >> shift).view(np.uint64) & np.uint64(2**width - 1), width) if width < 64 else y >> shift
    return signed(np.maximum(low, 0).view(np.uint64) & np.uint64(2**ring_bits - 1), ring_bits)


def every_pair(ring_bits):
    """Every y, each with every share of the client's."""
    y = np.repeat(np.arange(-(2 ** (ring_bits - 1)), 2 ** (ring_bits - 1)), 2**ring_bits)
    a = np.tile(np.arange(2**ring_bits, dtype=np.uint64), 2**ring_bits)
    return y, a, (y.view(np.uint64) - a) & np.uint64(2**ring_bits - 1)


@pytest.mark.parametrize(("shift", "window"), [(0, 8), (3, 8), (2, 7), (6, 8), (0, 4), (3, 4), (7, 8), (0, 1), (1, 2)])
def test_relu_exhaustively(shift, window):
    """All y of the ring and all shares: also where y is outside the window, the answer depends on y alone."""
    y, a, b = every_pair(8)
    vector = relu_vector(y.size, 8, shift, window, "ot")
    assert np.array_equal(run_vector(vector, a, b, ot_pair(), ot_pair()), relu(y, 8, shift, window))


@pytest.mark.parametrize(("shift", "window"), [(1, 8), (3, 8), (6, 8), (3, 7), (1, 2), (2, 6), (6, 7)])
def test_rescale_exhaustively(shift, window):
    y, a, b = every_pair(8)
    vector = rescale_vector(y.size, 8, shift, window, "ot")
    assert np.array_equal(run_vector(vector, a, b, ot_pair(), ot_pair()), within(y, window) >> shift)


def within(y, window):
    """The low bits as a number in two's complement."""
    return ((y + 2 ** (window - 1)) & (2**window - 1)) - 2 ** (window - 1)


@pytest.mark.long
@pytest.mark.parametrize("shift", [0, 1, 4, 9])
def test_ten_bits_exhaustively(cpu_path, shift):
    y, a, b = every_pair(10)
    vector = relu_vector(y.size, 10, shift, 10, "ot")
    assert np.array_equal(run_vector(vector, a, b, ot_pair(), ot_pair()), relu(y, 10, shift, 10))


@settings(max_examples=40, deadline=None)
@given(ring_bits=st.sampled_from(RINGS), data=st.data())
def test_any_shift_and_window(ring_bits, data):
    shift = data.draw(st.integers(0, ring_bits - 2))
    window = data.draw(st.integers(shift + 1, ring_bits))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    low, high = -(2 ** (ring_bits - 1)), 2 ** (ring_bits - 1) - 1
    y = np.concatenate([rng.integers(low, high, 70, np.int64, endpoint=True), [low, high, -1, 0, 1]])
    edges = [2 ** (window - 1) + d for d in (-1, 0, 2**shift - 1) if 2 ** (window - 1) + d <= high]
    y = np.concatenate([y, np.array(edges, np.int64), -np.array(edges, np.int64)])
    shares = split(y, ring_bits, rng)
    found = run_vector(relu_vector(y.size, ring_bits, shift, window, "ot"), *shares, ot_pair(), ot_pair())
    assert np.array_equal(found, relu(y, ring_bits, shift, window))
    if shift:
        found = run_vector(rescale_vector(y.size, ring_bits, shift, window, "ot"), *shares, ot_pair(), ot_pair())
        up = 64 - window
        assert np.array_equal(found, y << up >> (up + shift) if window < ring_bits else y >> shift)


def test_material_is_used_once():
    """A second message of a round would open the first; neither party has one to give."""
    vector = relu_vector(16, 32, 12, 28, "ot")
    ots, reverse, shares = ot_pair(), ot_pair(), np.zeros(16, np.uint64)
    client, server, chunk = client_vector(vector, 1), server_vector(vector, 1), vector.chunks[0]
    garbled = server.garble(chunk, client.choose(chunk, shares, ots[1]), ots[0], reverse[1])
    server.receive_products(chunk, client.receive_garbled(chunk, garbled, reverse[0]))
    for number in range(vector.rounds):
        down = server.send(number, chunk, shares)
        with pytest.raises(AssertionError, match="used once"):
            server.send(number, chunk, shares + np.uint64(1))
        up = client.answer(number, chunk, down)
        with pytest.raises((AssertionError, KeyError)):
            client.answer(number, chunk, down)
        server.receive(number, chunk, shares, up)
    with pytest.raises((AssertionError, KeyError)):
        server.send(0, chunk, shares)


def test_every_cpu_path_gives_the_same(cpu_path):
    rng = np.random.default_rng(1)
    y = rng.integers(-(2**26), 2**26, 5000)
    vector = relu_vector(y.size, 32, 12, 28, "ot")
    found = run_vector(vector, *split(y, 32, rng), ot_pair(), ot_pair(), stored=False)
    assert np.array_equal(found, np.maximum(y, 0) >> 12)


def test_bytes_of_a_relu():
    """The costs that the protocol was chosen for."""
    vector = relu_vector(2**16, 32, 12, 28, "ot")
    offline = sum(chunk.choices + chunk.garbled + chunk.products for chunk in vector.chunks)
    online = sum(sum(map(sum, chunk.rounds)) for chunk in vector.chunks)
    assert (offline / 2**16, online / 2**16, vector.rounds) == (pytest.approx(196, abs=0.01), 76.5, 3)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (1, 0), (12, 15), (0, 63), (63, 1), (31, 33), (5, 59)])
def test_shapes(low, high):
    """Digits cover the bits, groups the digits, and the last nodes all of them."""
    shape = comparison(low, high)
    assert sum(shape.widths) == low + high
    assert [group.first for group in shape.groups] == [
        sum(before.digits for before in shape.groups[:number]) for number in range(len(shape.groups))
    ]
    spans = [{number} for number in range(len(shape.groups))]
    for layer in shape.layers:
        for merge in layer:
            assert min(spans[merge.upper]) == max(spans[merge.lower]) + 1
            assert merge.equal == (0 not in spans[merge.lower])
            spans.append(spans[merge.upper] | spans[merge.lower])
    digits = {number for number, group in enumerate(shape.groups) if group.first < -(-low // 5)}
    assert (shape.carry is None) == (low == 0) and (shape.top is None) == (low + high == 0)
    if shape.carry is not None:
        assert spans[shape.carry] == digits
    if shape.top is not None:
        assert spans[shape.top] == set(range(len(shape.groups)))


def test_one_entry_of_a_table_can_be_read():
    """The server's pad opens its own entry; every other entry differs from what it could compute by a random bit."""
    n, digits = 4096, _core.Digits([5], [1])
    sender, receiver, _ = ot_pair()
    rows = np.frombuffer(np.random.default_rng(2).bytes(5 * n // 8), np.uint8).copy()
    blocks = np.empty(5 * n * 16, np.uint8)
    q = sender.extend(5 * n, receiver.extend(rows, blocks)).reshape(-1)
    key, none = fresh(1), np.zeros(n // 8, np.uint8)
    pads = _core.table_pads_send(key, 0, 0, digits, sender.delta, q, none, none, n).view(np.uint32).reshape(2, n)
    own = np.unpackbits(
        _core.table_pads_receive(key, 0, 0, digits, blocks, rows, n).reshape(2, -1), axis=1, bitorder="little"
    )
    bits = np.unpackbits(rows.reshape(5, -1), axis=1, bitorder="little")
    chosen = (bits.T @ (1 << np.arange(5))).astype(np.uint32)
    for half in range(2):
        agree = [np.mean((pads[half] >> ((chosen + d) % 32) & 1) == own[half]) for d in range(32)]
        assert agree[0] == 1
        assert all(abs(share - 0.5) < 6 * 0.5 / np.sqrt(n) for share in agree[1:])


def test_one_combination_can_be_opened():
    n = 4096
    sender, receiver, _ = ot_pair()
    rows = np.frombuffer(np.random.default_rng(3).bytes(3 * n // 8), np.uint8).copy()
    blocks = np.empty(3 * n * 16, np.uint8)
    q = sender.extend(3 * n, receiver.extend(rows, blocks)).reshape(-1)
    key = fresh(1)
    pads = _core.select_pads_send(key, 7, 0, 3, sender.delta, q, n)
    own = _core.select_pads_receive(key, 7, 0, 3, blocks, n)
    bits = np.unpackbits(rows.reshape(3, -1), axis=1, bitorder="little")
    chosen = bits.T @ np.array([1, 2, 4])
    assert np.array_equal(pads[chosen, np.arange(n)], own)
    assert len(np.unique(pads)) == pads.size


def test_bad_shapes_are_refused():
    for widths, equals, says in (([6], [0], "1 to 5 bits"), ([5], [], "must match"), ([5] * 13, [0] * 13, "64 bits")):
        with pytest.raises(ValueError, match=says):
            _core.Digits(widths, equals)
    digits, zeros = _core.Digits([5], [1]), np.zeros(16, np.uint64)
    with pytest.raises(ValueError, match="choices must have 10 elements"):
        _core.table_open(digits, zeros, np.zeros(9, np.uint8))
    with pytest.raises(ValueError, match="multiple of 16"):
        _core.table_open(digits, zeros[:3].copy(), np.zeros(9, np.uint8))
    with pytest.raises(ValueError, match="pads must have"):
        _core.table_answer(digits, zeros, np.zeros(10, np.uint8), np.zeros(3, np.uint8))


def test_a_removed_protocol_says_why():
    with pytest.raises(SettingError, match=r"'fused' was removed: .*use ot, which is exact"):
        check_protocol("fused")
    with pytest.raises(SettingError, match="unknown protocol 'x'"):
        check_protocol("x")


@pytest.mark.parametrize("protocol", ["ot", "delphi"])
def test_hash_keys_belong_to_a_batch_and_a_vector(protocol):
    """Both sides name the vector alike, or nothing opens; equal random bytes give other keys in another batch."""
    vector, y = relu_vector(16, 32, 12, 28, protocol), np.arange(16) << 14
    names = [name for batch in (b"a" * 16, b"b" * 16) for name in islice(vector_salts(batch), 2)]
    random = fresh(1)
    assert len({bound_key(random, name).tobytes() for name in names}) == 4
    shares = split(y, 32, np.random.default_rng(1))
    right = run_vector(vector, *shares, ot_pair(), ot_pair(), salts=(names[0], names[0]))
    assert np.array_equal(right, y >> 12)
    wrong = run_vector(vector, *shares, ot_pair(), ot_pair(), salts=(names[0], names[1]))
    assert not np.array_equal(wrong, y >> 12)
