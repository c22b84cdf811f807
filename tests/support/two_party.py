"""Both parties of the compiled protocols in one process, with a dealer for the base OTs. INSECURE: for tests only."""

from __future__ import annotations

import numpy as np

from deepreduce import _core
from deepreduce.inference.protocol.nonlinear import registry
from deepreduce.inference.protocol.nonlinear.vector import pad, part

GROUP = 16


def fresh(count: int) -> np.ndarray:
    """uint8 [16 * count] of fresh randomness."""
    return _core.aes_ctr(np.frombuffer(np.random.default_rng().bytes(16), np.uint8), 0, 0, count).reshape(-1)


def ot_pair(k: int = 4) -> tuple[_core.OtSender, _core.OtReceiver, _core.Delta]:
    """Sender and receiver of an extension whose 128 base OTs a trusted dealer (this function) has dealt."""
    delta = _core.Delta.random()
    pads = fresh(256).reshape(128, 2, 16)
    receiver = _core.OtReceiver(k, pads.reshape(-1))
    chosen = pads[np.arange(128), delta.bits()]
    return _core.OtSender(k, delta, np.ascontiguousarray(chosen).reshape(-1), receiver.set_up), receiver, delta


def padded(values: np.ndarray, multiple: int = GROUP) -> np.ndarray:
    out = np.zeros(-(-len(values) // multiple) * multiple, np.uint64)
    out[: len(values)] = values
    return out


def choose(sender, receiver, bits_u16: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlated OTs for packed choice bits: (labels of 0 at the sender, active labels at the receiver), uint8."""
    packed = bits_u16.reshape(-1).view(np.uint8)
    count = packed.size * 8
    choices = np.zeros(-(-count // 128) * 16, np.uint8)
    choices[: packed.size] = packed
    active = np.empty(choices.size * 8 * 16, np.uint8)
    correction = receiver.extend(choices, active)
    zero = sender.extend(choices.size * 8, correction).reshape(-1)
    return zero[: count * 16], active[: count * 16]


def split(y: np.ndarray, ring_bits: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Uniform additive shares (client, server) of signed values mod 2^ring_bits."""
    mask = np.uint64(2**ring_bits - 1)
    a = rng.integers(0, 2**64, y.size, np.uint64) & mask
    return a, (y.astype(np.int64).view(np.uint64) - a) & mask


def signed(values: np.ndarray, ring_bits: int) -> np.ndarray:
    up = np.uint64(64 - ring_bits)
    return (values << up).view(np.int64) >> up.astype(np.int64)


def garbled(circuit, a, b, ring_bits, shift, ots, threads=1):
    """The whole circuit on shares: the re-shared result, opened, as signed numbers."""
    sender, receiver, delta = ots
    count = a.size
    a, b = padded(a), padded(b)
    r = _core.random_ring(a.size, ring_bits)
    key, seed = fresh(1), fresh(2)[:24]
    bits = np.concatenate([_core.bit_slice(a, ring_bits), _core.bit_slice(r, ring_bits)], axis=1)
    zero, active = choose(sender, receiver, np.ascontiguousarray(bits))
    gates = 3 * (ring_bits - 1) - shift if circuit == "relu" else 2 * (ring_bits - 1)
    tables = np.empty(a.size * gates * 32, np.uint8)
    decode = _core.circuit_garble(circuit, ring_bits, shift, delta, key, seed, 0, zero, tables, threads)
    labels = np.empty(a.size * ring_bits * 16, np.uint8)
    _core.circuit_encode(ring_bits, delta, seed, 0, b, labels, threads)
    colors = _core.circuit_evaluate(circuit, ring_bits, shift, key, 0, active, labels, tables, threads)
    share = _core.bit_unslice(colors ^ decode, ring_bits)
    return signed((share + r) & np.uint64(2**ring_bits - 1), ring_bits)[:count]


def run_vector(vector, a, b, ots, reverse, stored=True, salts=(b"", b"")):
    """Both roles of a vector on shares, in the sizes that are agreed: the re-shared result, opened, as signed numbers.

    ``stored``: the material goes through its plain form before it is used. ``salts``: what client and server call the
    vector.
    """
    client, server = registry.client_vector(vector, 1, salts[0]), registry.server_vector(vector, 1, salts[1])
    a, b = pad(a), pad(b)
    for chunk in vector.chunks:
        choices = client.choose(chunk, part(a, chunk), ots[1])
        tables = server.garble(chunk, choices, ots[0], reverse[1])
        products = client.receive_garbled(chunk, tables, reverse[0])
        sizes = (len(choices), len(tables), 0 if products is None else len(products))
        assert sizes == (chunk.choices, chunk.garbled, chunk.products)
        if products is not None:
            server.receive_products(chunk, products)
    if stored:
        client = registry.restored_client(vector, client.state(), 1)
        server = registry.restored_server(vector, server.state(), 1)
    results = []
    for number in range(vector.rounds):
        for chunk in vector.chunks:
            down = server.send(number, chunk, part(b, chunk))
            up = client.answer(number, chunk, down)
            assert (len(down), len(up)) == chunk.rounds[number]
            results.append(server.receive(number, chunk, part(b, chunk), up))
    found = np.concatenate([result for result in results if result is not None])
    mask = np.uint64(2**vector.ring_bits - 1)
    return signed((found + client.mask) & mask, vector.ring_bits)[: vector.elements]
