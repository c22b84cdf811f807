"""Both parties of the compiled protocols in one process, with a dealer for the base OTs. INSECURE: for tests only."""

from __future__ import annotations

import numpy as np

from deepreduce import _core

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


def fused_relu(a, b, ring_bits, shift, window, ots, reverse, threads=1):
    """The fused ReLU on shares (client a, server b): the re-shared result, opened, as signed numbers."""
    sender, receiver, delta = ots
    client_sender, server_receiver, client_delta = reverse
    width, count = window - shift, a.size
    a, b = padded(a), padded(b)
    key, seed = fresh(1), fresh(1)
    a2 = _core.shift_shares(a, ring_bits, shift, width, True)
    b2 = _core.shift_shares(b, ring_bits, shift, width, False)
    zero, active = choose(sender, receiver, _core.bit_slice(a2, width))
    tables = np.empty(a.size * (width - 1) * 32, np.uint8)
    pads, lam, color = _core.sign_garble(delta, key, seed, 0, width, zero, tables, threads)
    q, t = choose(client_sender, server_receiver, lam)
    e, w = _core.product_send(key, 0, ring_bits, client_delta, q, a2, threads)
    u = _core.product_receive(key, 0, ring_bits, t, lam.view(np.uint8), e, threads)
    rho, r = _core.random_ring(a.size, ring_bits), _core.random_ring(a.size, ring_bits)
    labels = np.empty(a.size * width * 16, np.uint8)
    elements = _core.sign_respond(delta, seed, 0, ring_bits, width, b2, pads, lam, color, u, rho, labels, threads)
    answer = _core.sign_evaluate(key, 0, ring_bits, width, active, labels, tables, elements, a2, w, r, threads)
    mask = np.uint64(2**ring_bits - 1)
    return signed((answer + rho + r) & mask, ring_bits)[:count]


def garbled(circuit, a, b, ring_bits, shift, ots, threads=1):
    """The whole circuit on shares: the re-shared result, opened, as signed numbers."""
    sender, receiver, delta = ots
    count = a.size
    a, b = padded(a), padded(b)
    r = _core.random_ring(a.size, ring_bits)
    key, seed = fresh(1), fresh(1)
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


def one_ot_rescale(a, b, ring_bits, shift, reverse, threads=1):
    """The one-OT rescale on shares: the re-shared result, opened, as signed numbers."""
    client_sender, server_receiver, client_delta = reverse
    count = a.size
    a, b = padded(a), padded(b)
    key = fresh(1)
    a2, negative = _core.rescale_client_shares(ring_bits, shift, a)
    c = np.frombuffer(np.random.default_rng().bytes(a.size // 8), np.uint8)
    q, t = choose(client_sender, server_receiver, c)
    e, share = _core.product_send(key, 0, shift, client_delta, q, negative, threads)
    g = _core.product_receive(key, 0, shift, t, c, e, threads)
    r = _core.random_ring(a.size, ring_bits)
    d = _core.rescale_open(ring_bits, shift, b, c)
    answer = _core.rescale_answer(ring_bits, shift, a2, share, d, r)
    out = _core.rescale_close(ring_bits, shift, b, g, d, answer)
    return signed((out + r) & np.uint64(2**ring_bits - 1), ring_bits)[:count]
