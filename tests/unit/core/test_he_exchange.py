"""The homomorphic phase: sizes, worst cases, freshness, streaming, and what is refused."""

import numpy as np
import pytest

from deepreduce import _core
from he_op import Exchange, Op, random_ring

pytestmark = pytest.mark.core

OP = Op(outputs=5, inputs=6, groups=1, kernel=(3, 3), area=(8, 7), block_channels=2, block_outputs=2, degree=4096)
# Five products in two responses, of four and of one.
PACKED = Op(5, 6, 1, (3, 3), (8, 7), block_channels=4, block_outputs=1, degree=4096, packed=4)
RNG = np.random.default_rng(5)


def exchange(bits: int = 32, op: Op = OP, w: np.ndarray | None = None) -> Exchange:
    shape = (op.outputs, op.inputs // op.groups, *op.kernel)
    return Exchange(bits, op, RNG.integers(-2047, 2048, shape).astype(np.int16) if w is None else w)


@pytest.mark.parametrize(("bits", "degree", "primes"), [(8, 4096, 2), (32, 4096, 2), (33, 8192, 3), (64, 8192, 3)])
def test_message_sizes(bits, degree, primes):
    parameters = _core.he_parameters(bits)
    assert (parameters["degree"], len(parameters["primes"])) == (degree, primes)
    assert all(p.bit_length() == 50 and p % (2 * degree) == 1 for p in parameters["primes"])
    size = 16 + degree * primes * 50 // 8
    assert parameters["upload_bytes"] == parameters["public_key_bytes"] == size
    client = _core.HeClient(bits)
    assert len(client.public_key()) == size
    assert len(client.encrypt(np.zeros((3, degree), np.uint64))) == 3 * size
    for useful in (0, 1, 7, 1000):
        expected = -(-degree * (bits + 12) // 8) + -(-useful * (bits + 6) // 8)
        assert _core.he_response_bytes(bits, useful) == expected


def test_security_figures():
    for bits, log_q in ((32, 109), (64, 218)):  # the standard's bounds of 128 bits
        parameters = _core.he_parameters(bits)
        q = np.prod([int(p) for p in parameters["primes"]], dtype=object)
        assert int(q).bit_length() <= log_q
        assert parameters["classical_bits"] >= 128
    assert -39.1 < _core.he_parameters(32)["log2_distance"] < -39
    assert _core.he_parameters(64)["log2_distance"] < -46


@pytest.mark.parametrize("bits", [8, 24, 32, 37, 41, 48, 64])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("packed", [1, 16])
def test_worst_weights_decrypt_every_time(bits, sign, packed):
    """All weights at the limit, the largest values, the largest fan-in of ResNet18: thousands of coefficients."""
    degree = _core.he_parameters(bits)["degree"]
    block_outputs = degree // (36 * 16)
    op = Op(min(packed, 5) * block_outputs, 512, 1, (3, 3), (6, 6), 16, block_outputs, degree, packed)
    both = exchange(bits, op, np.full((op.outputs, 512, 3, 3), 2047 * sign, np.int16))
    assert both.weights.worst_noise < 1
    x = np.full((512, 6, 6), 2**bits - 1, np.uint64)
    uploads = both.upload(x, threads=2)
    for _ in range(12):
        masks = random_ring(RNG, bits, both.positions.size)
        responses = both.respond(uploads, masks)
        assert np.array_equal(both.decrypt(responses), both.expected(x, masks))
        noise = both.client.noise(responses, both.positions, both.offsets)
        assert np.abs(noise).max() < both.weights.worst_noise


@pytest.mark.parametrize("op", [OP, PACKED])
def test_threads_frames_and_ranges_of_responses_do_not_matter(cpu_path, op):
    both = exchange(32, op)
    x, masks = random_ring(RNG, 32, (6, 8, 7)), random_ring(RNG, 32, both.positions.size)
    frames = both.client.encrypt(op.polynomials(x), 3)
    size = _core.he_parameters(32)["upload_bytes"]
    upload = _core.HeUpload(32, op.blocks_in)
    upload.add(frames[:size])
    upload.add(bytearray(frames[size:]), threads=2)
    assert upload.received == upload.blocks == op.blocks_in
    shares = []
    for b in range(op.responses):
        cut = slice(both.offsets[b], both.offsets[b + 1])
        part = np.array([0, cut.stop - cut.start], np.int64)
        one = both.server.respond(both.weights, upload, b, 1, both.positions[cut], part, masks[cut], 4)
        shares.append(both.client.decrypt(one, both.positions[cut]))
    assert np.array_equal(np.concatenate(shares), both.expected(x, masks))
    whole = both.respond(upload, masks, threads=3)
    assert np.array_equal(both.decrypt(whole, threads=2), both.expected(x, masks))


@pytest.mark.parametrize("op", [OP, PACKED])
def test_a_subset_of_the_outputs(cpu_path, op):
    """The last tile of a map has fewer useful outputs than the others."""
    both = exchange(32, op)
    x, masks = random_ring(RNG, 32, (6, 8, 7)), random_ring(RNG, 32, both.positions.size)
    keep = RNG.random(both.positions.size) < 0.4
    keep[both.offsets[1] : both.offsets[2]] = False  # one response without any
    offsets = np.concatenate([[0], np.cumsum(keep)])[both.offsets].astype(np.int64)
    args = both.positions[keep], offsets
    responses = both.server.respond(both.weights, both.upload(x), 0, op.responses, *args, masks[keep])
    assert np.array_equal(both.client.decrypt_many(responses, *args), both.expected(x, masks)[keep])


@pytest.mark.parametrize("op", [OP, PACKED])
def test_weights_that_are_not_cached(cpu_path, op):
    """Transformed for every response, in less memory: the same answers, over threads and for single blocks."""
    both = exchange(32, op)
    computing = _core.HeWeights(
        32, both.w, op.groups, *op.area, op.block_channels, op.block_outputs, op.packed, cached=False
    )
    assert computing.memory_bytes == both.w.nbytes < both.weights.memory_bytes / 100
    assert (computing.worst_noise, computing.norm_squared) == (both.weights.worst_noise, both.weights.norm_squared)
    both.weights = computing
    x, masks = random_ring(RNG, 32, (6, 8, 7)), random_ring(RNG, 32, both.positions.size)
    for threads in (1, 3):
        assert np.array_equal(both.decrypt(both.respond(both.upload(x), masks, threads)), both.expected(x, masks))


@pytest.mark.parametrize("client_path", _core.cpu_paths())
@pytest.mark.parametrize("bits", [32, 64])
def test_parties_may_run_different_paths(cpu_path, client_path, bits):
    op = Op(4, 4, 2, (3, 1), (6, 5), 4, 1, _core.he_parameters(bits)["degree"], packed=2)
    _core.select_cpu_path(client_path)
    client = exchange(bits, op)
    x, masks = random_ring(RNG, bits, (4, 6, 5)), random_ring(RNG, bits, client.positions.size)
    sent = client.client.encrypt(op.polynomials(x))
    _core.select_cpu_path(cpu_path)
    weights = _core.HeWeights(bits, client.w, 2, 6, 5, 4, 1, 2)
    keys = client.client.public_key() + client.client.packing_keys(op.levels)
    server, upload = _core.HeServer(bits, keys, op.levels), _core.HeUpload(bits, op.blocks_in)
    upload.add(sent)
    responses = server.respond(weights, upload, 0, op.responses, client.positions, client.offsets, masks)
    _core.select_cpu_path(client_path)
    assert np.array_equal(client.decrypt(responses), client.expected(x, masks))


def test_everything_is_fresh():
    both = exchange()
    zeros = np.zeros((2, 4096), np.uint64)
    uploads = [both.client.encrypt(zeros) for _ in range(2)]
    size = len(uploads[0]) // 2
    assert len({u[i * size : (i + 1) * size] for u in uploads for i in range(2)}) == 4
    assert len({u[i * size :][:16] for u in uploads for i in range(2)}) == 4  # seeds of c1
    assert both.client.public_key() != _core.HeClient(32).public_key()
    upload, masks = both.upload(np.zeros((6, 8, 7), np.uint64)), np.zeros(both.positions.size, np.uint64)
    responses = [both.respond(upload, masks) for _ in range(2)]
    c1 = 4096 * 44 // 8
    for first, second in zip(*responses, strict=True):
        if first != second:
            break
    else:
        pytest.fail("the same response twice")
    same = np.mean(np.frombuffer(responses[0][:c1], np.uint8) == np.frombuffer(responses[1][:c1], np.uint8))
    assert same < 0.02  # independent bytes agree one time in 256; sd over 22528 bytes is 0.0004


def test_one_key_cannot_read_another(cpu_path):
    both = exchange()
    x, masks = random_ring(RNG, 32, (6, 8, 7)), np.zeros(both.positions.size, np.uint64)
    responses = both.respond(both.upload(x), masks)
    stranger = _core.HeClient(32).decrypt_many(responses, both.positions, both.offsets)
    assert np.mean(stranger == both.expected(x, masks)) < 0.1


@pytest.mark.parametrize("bits", [-1, 0, 1, 65])
def test_rings_out_of_range(bits):
    with pytest.raises((ValueError, TypeError)):
        _core.HeClient(bits)


@pytest.mark.parametrize("bits", [32, 41])
def test_damaged_messages_are_refused(bits):
    both = exchange(bits, Op(5, 6, 1, (3, 3), (8, 7), 2, 2, _core.he_parameters(bits)["degree"]))
    key = both.client.public_key()
    sent = both.client.encrypt(both.op.polynomials(np.zeros((6, 8, 7), np.uint64)))
    upload = both.upload(np.zeros((6, 8, 7), np.uint64))
    masks = np.zeros(both.positions.size, np.uint64)
    responses = both.respond(upload, masks)
    for wrong in (key[:-1], key + b"\0", b""):
        with pytest.raises(ValueError, match="bytes"):
            _core.HeServer(bits, wrong)
    high = key[:16] + b"\xff" * 7 + key[23:]
    with pytest.raises(ValueError, match="prime"):
        _core.HeServer(bits, high)
    fresh = _core.HeUpload(bits, 3)
    for wrong in (sent[:-1], sent + b"\0"):
        with pytest.raises(ValueError, match="multiple"):
            fresh.add(wrong)
    with pytest.raises(ValueError, match="prime"):
        fresh.add(sent[: len(key) - 7] + b"\xff" * 7)
    assert fresh.received == 0
    with pytest.raises(ValueError, match="expected 3"):
        fresh.add(sent + sent)
    for wrong in (responses[:-1], responses + b"\0", b""):
        with pytest.raises(ValueError, match="bytes"):
            both.decrypt(wrong)
    with pytest.raises(ValueError, match="modulus"):
        both.decrypt(b"\xff" * 16 + responses[16:])


def test_damage_below_the_noise_changes_values_only():
    """No integrity is promised: a flipped bit gives other values, never a crash."""
    both = exchange()
    masks = np.zeros(both.positions.size, np.uint64)
    responses = bytearray(both.respond(both.upload(np.zeros((6, 8, 7), np.uint64)), masks))
    responses[4] ^= 0x55  # high bits of the first coefficient of c1
    values = both.decrypt(bytes(responses))
    assert values.max() < 2**32
    assert not np.array_equal(values, both.expected(np.zeros((6, 8, 7), np.uint64), masks))


def test_bad_arguments_of_respond():
    both = exchange()
    upload, masks = both.upload(np.zeros((6, 8, 7), np.uint64)), np.zeros(both.positions.size, np.uint64)
    good = {"first": 0, "count": 3, "positions": both.positions, "offsets": both.offsets, "masks": masks}

    def respond(weights=both.weights, uploaded=upload, **changes):
        return both.server.respond(weights, uploaded, **{**good, **changes})

    assert respond()
    swapped = both.positions.copy()
    swapped[:2] = swapped[1::-1]
    twice = both.positions.copy()
    twice[1] = twice[0]
    for position in (-1, 0, 4095, 4096, both.positions[0] - 1, 2**31 - 1):
        leaking = both.positions.copy()
        leaking[0] = position  # not an output: would leak
        with pytest.raises(ValueError, match="position"):
            respond(positions=leaking)
    beyond = both.positions.copy()  # a slot of output 5, which does not exist, in the last block
    beyond[-1] += 2 * 56
    for positions in (swapped, twice, beyond):
        with pytest.raises(ValueError, match="position"):
            respond(positions=positions)
    for changes in (
        {"first": 1},
        {"count": 2},
        {"first": 2**63},
        {"offsets": both.offsets[:-1]},
        {"offsets": both.offsets + 1},
        {"offsets": both.offsets[[0, 2, 1, 3]]},
        {"masks": masks[:-1]},
    ):
        with pytest.raises(ValueError):
            respond(**changes)
    with pytest.raises(ValueError, match="arrived"):
        respond(uploaded=_core.HeUpload(32, 3))
    with pytest.raises(ValueError, match="blocks"):
        respond(uploaded=_core.HeUpload(32, 2))
    with pytest.raises(ValueError, match="rings"):
        respond(uploaded=_core.HeUpload(31, 3))
    with pytest.raises(ValueError, match="polynomials"):
        both.client.encrypt(np.zeros((1, 8192), np.uint64))


def test_bad_shapes_of_weights():
    w = np.ones((4, 4, 3, 3), np.int16)
    assert _core.HeWeights(32, w, 1, 32, 32, 2, 2).blocks_in == 2
    for arguments in (
        (1, 32, 32, 2, 3),  # too large a block
        (1, 2, 9, 1, 1),  # kernel larger than the area
        (3, 8, 8, 1, 1),  # groups do not divide
        (0, 8, 8, 1, 1),
        (1, 8, 8, 0, 1),
        (1, 2**40, 8, 1, 1),
        (2**40, 8, 8, 1, 1),
    ):
        with pytest.raises(ValueError):
            _core.HeWeights(32, w, *arguments)
    with pytest.raises(ValueError, match="dimensional"):
        _core.HeWeights(32, w[0], 1, 8, 8, 1, 1)


def test_budgets_are_checked():
    """Norms that the flood would not hide are refused; the bound of the noise is as documented."""
    for bits, degree, kept, flood in ((8, 4096, 1, 64), (32, 4096, 1, 64), (33, 8192, 2, 79), (64, 8192, 2, 79)):
        w = np.full((2, 16, 16, 16), -32768, np.int16)
        w[0] = 1
        for merges in (0, 1, 4):
            before = 32768 * 16**3 * 21.5 + 2 * degree * 21 + 0.5 + 4 * 2.0**flood
            before += 2.0**50 * np.sqrt(21 * merges * (kept + 1) * degree * 129 * np.log(2))
            after = before / 2**50 + (degree + 1) / 2 + 2.0 ** (50 * kept - bits - 6 - 1)
            after += 2.0 ** (50 * kept - bits - 12 - 1) * np.sqrt(2 * degree * 129 * np.log(2))
            noise = _core.HeWeights(bits, w, 1, 16, 16, 16, 1, 2**merges).worst_noise
            assert noise == pytest.approx(after / 2.0 ** (50 * kept - bits - 1), rel=1e-6)
            assert noise < 1
    _core.he_check_norm(32, 2.0**48.7, 1e6)
    with pytest.raises(ValueError, match=r"24\.4"):
        _core.he_check_norm(32, 2.0**48.9, 1e6)
    _core.he_check_norm(41, 2.0**63.9, 1e6)
    for bad in (2.0**64.1, -1.0, float("nan")):
        with pytest.raises(ValueError):
            _core.he_check_norm(41, bad, 1)


@pytest.mark.parametrize("bits", [32, 64])
def test_the_noise_of_packing(bits):
    """Keys multiply residues below 2^50 with errors of sd 3.24: merges add 2^57 to a flood of 2^66 or more, so
    the noise of a packed response is that of the flood and the bits cut off.
    """
    degree = _core.he_parameters(bits)["degree"]
    op = Op(64, 2, 1, (1, 1), (8, 8), degree // 64, 1, degree, 64)
    both = exchange(bits, op)
    masks = np.zeros(both.positions.size, np.uint64)
    noise = both.client.noise(
        both.respond(both.upload(np.zeros((2, 8, 8), np.uint64)), masks), both.positions, both.offsets
    )
    assert noise.std() < both.weights.worst_noise / 4
    assert not both.decrypt(both.respond(both.upload(np.zeros((2, 8, 8), np.uint64)), masks)).any()


def test_packing_keys_are_those_of_the_weights():
    both = exchange(32, PACKED)
    upload, masks = both.upload(np.zeros((6, 8, 7), np.uint64)), np.zeros(both.positions.size, np.uint64)
    levels = PACKED.levels
    assert levels == [1, 0]
    key, each = both.client.public_key(), _core.he_parameters(32)["packing_key_bytes"]
    keys = both.client.packing_keys(levels)
    assert len(keys) == 2 * each == 2 * 2 * len(key)
    assert both.client.packing_keys(levels) != keys  # fresh every time
    both.server = _core.HeServer(32, key + keys[:each], levels[:1])
    with pytest.raises(ValueError, match="packing keys"):
        both.respond(upload, masks)
    with pytest.raises(ValueError, match="bytes"):
        _core.HeServer(32, key + keys[:-1], levels)
    for wrong in ([12], [64], [2**31]):
        with pytest.raises(ValueError, match="level"):
            both.client.packing_keys(wrong)
        with pytest.raises(ValueError, match="level"):
            _core.HeServer(32, key + keys[:each], wrong)
    high = keys[:16] + b"\xff" * 7 + keys[23:]
    with pytest.raises(ValueError, match="prime"):
        _core.HeServer(32, key + high, levels)
    # Keys of other levels, or of another client: other answers, no crash.
    both.server = _core.HeServer(32, key + keys, levels[::-1])
    assert both.decrypt(both.respond(upload, masks)).any()
    both.server = _core.HeServer(32, key + _core.HeClient(32).packing_keys(levels), levels)
    assert both.decrypt(both.respond(upload, masks)).any()
