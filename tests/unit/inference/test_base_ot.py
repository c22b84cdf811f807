"""Base transfers and the extensions that are made from others' transfers."""

import hashlib
import os

import numpy as np
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given, settings, strategies as st
from scipy.stats import chisquare

from deepreduce import _core
from deepreduce.errors import MissingPackageError, SessionError
from deepreduce.inference import Server
from deepreduce.inference.protocol import base_ot
from deepreduce.inference.protocol.base_ot import BaseReceiver, BaseSender
from deepreduce.inference.protocol.key_setup import K, OppositeSender, opposite_receiver
from deepreduce.plan.cost.traffic import BASE_ANSWER, BASE_CIPHERTEXTS, BASE_REQUEST, KEM_KEY
from sessions import PLAN, WEIGHTS
from two_party import ot_pair

POINTS = 128 * 32


def transfer(choices):
    """Both keys of every transfer [128, 2, 16], and the chosen ones [128, 16]."""
    sender = BaseSender()
    receiver = BaseReceiver(sender.message, choices)
    keys, ciphertexts = sender.keys(receiver.message)
    assert (len(sender.message), len(receiver.message), len(ciphertexts)) == (
        BASE_REQUEST,
        BASE_ANSWER,
        BASE_CIPHERTEXTS,
    )
    return keys.reshape(128, 2, 16), receiver.keys(ciphertexts).reshape(128, 16)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_receiver_has_the_keys_that_it_chose(seed):
    choices = np.random.default_rng(seed).integers(0, 2, 128, dtype=np.uint8)
    keys, chosen = transfer(choices)
    assert np.array_equal(keys[np.arange(128), choices], chosen)
    assert len({key.tobytes() for key in keys.reshape(-1, 16)}) == 256


@pytest.mark.parametrize("broken", ["points", "lattices"])
def test_each_secret_alone_keeps_the_other_key(broken, monkeypatch):
    """With one of the two known to everybody, the keys that were not chosen are still unlike the chosen ones."""

    class Known:
        def __init__(self, key):
            self._key = key

        def encapsulate(self):
            return bytes(32), self._key.encapsulate()[1]

    if broken == "points":
        monkeypatch.setattr(base_ot, "_multiply", lambda scalar, point: bytes(32))
    else:
        public = base_ot._public_key
        monkeypatch.setattr(base_ot, "_public_key", lambda encoded: Known(public(encoded)))
    sender = BaseSender()
    keys, _ = sender.keys(BaseReceiver(sender.message, np.zeros(128, np.uint8)).message)
    assert len({key.tobytes() for key in keys.reshape(-1, 16)}) == 256


def test_both_secrets_enter_the_keys(monkeypatch):
    """A receiver that lacks either has no key at all."""
    for name in ("_multiply", "_key"):
        with monkeypatch.context() as patch:
            sender = BaseSender()
            receiver = BaseReceiver(sender.message, np.zeros(128, np.uint8))
            keys, ciphertexts = sender.keys(receiver.message)
            if name == "_multiply":
                receiver._shared = [bytes(32)] * 128
            else:
                key = base_ot._key
                patch.setattr(base_ot, "_key", lambda *given: key(*given[:-1], bytes(32)))  # noqa: B023
            found = receiver.keys(ciphertexts).reshape(128, 16)
        assert not (found[:, None] == keys.reshape(128, 2, 16)).all(axis=2).any()


def test_the_second_public_key_is_the_first_ones_complement():
    """An involution that keeps rho, of coefficients that are uniform modulo 3329 if c is."""
    sender = BaseSender()
    seed = sender.message[32:]
    receiver = BaseReceiver(sender.message, np.zeros(128, np.uint8))
    own = np.frombuffer(receiver.message, np.uint8)[POINTS:].reshape(128, KEM_KEY)
    other = base_ot._complements(own, seed)
    assert np.array_equal(base_ot._complements(other, seed), own)
    assert np.array_equal(other[:, 1152:], own[:, 1152:]) and not np.array_equal(other, own)
    for one, two in ((0, 0), (5, 3)):
        a, b = (coefficients(keys[one]) for keys in (own, other))
        assert np.array_equal((a + b) % 3329, base_ot._uniform(seed, one))
        assert not np.array_equal(base_ot._uniform(seed, one), base_ot._uniform(seed, one + two + 1))


def coefficients(key):
    """ByteDecode_12 of FIPS 203, bit by bit."""
    bits = np.unpackbits(key[:1152], bitorder="little").reshape(768, 12).astype(int)
    return bits @ (1 << np.arange(12))


def test_coefficients_are_uniform():
    words = np.concatenate([base_ot._uniform(hashlib.sha256(bytes([i])).digest(), i) for i in range(128)])
    assert words.max() == 3328
    assert chisquare(np.bincount(words, minlength=3329)).pvalue > 1e-6


@pytest.mark.parametrize(
    ("at", "content", "said"),
    [
        (0, b"\xff" * 32, "not in the group"),
        (32 * 7, bytes([1]) + bytes(31), "not in the group"),
        (POINTS, b"\xff" * 3, "public key that is none"),
        (POINTS + 127 * KEM_KEY + 1149, b"\xff" * 3, "public key that is none"),
    ],
)
def test_what_cannot_be_a_point_or_a_key_is_refused(at, content, said):
    sender = BaseSender()
    answer = bytearray(BaseReceiver(sender.message, np.zeros(128, np.uint8)).message)
    answer[at : at + len(content)] = content
    with pytest.raises(SessionError, match=said):
        sender.keys(bytes(answer))


def test_a_changed_ciphertext_gives_another_key():
    sender = BaseSender()
    receiver = BaseReceiver(sender.message, np.zeros(128, np.uint8))
    keys, ciphertexts = sender.keys(receiver.message)
    changed = bytearray(ciphertexts)
    changed[0] ^= 1
    found = receiver.keys(bytes(changed)).reshape(128, 16)
    same = (found == keys.reshape(128, 2, 16)[:, 0]).all(axis=1)
    assert not same[0] and same[1:].all()


def test_an_extension_makes_another_that_runs_the_other_way():
    """q = t xor c Delta for a fresh Delta, twice, in either direction."""
    sender, receiver, _ = ot_pair()
    deltas = []
    for context in (b"one", b"two"):
        opposite = OppositeSender(receiver, context)
        made = opposite_receiver(sender, opposite.correction, context)
        new = opposite.finish(np.ascontiguousarray(made.set_up))
        deltas.append(new.delta.to_bytes())
        choices, blocks = np.random.default_rng(1).integers(0, 256, 32, dtype=np.uint8), np.empty(256 * 16, np.uint8)
        q = new.extend(256, made.extend(choices, blocks))
        bits = np.unpackbits(choices, bitorder="little")[:, None]
        assert np.array_equal(q ^ blocks.reshape(256, 16), bits * deltas[-1])
    assert not np.array_equal(*deltas) and K == 4


def test_the_context_enters_the_keys():
    """Parties that do not agree on the batch do not agree on an extension."""
    sender, receiver, _ = ot_pair()
    opposite = OppositeSender(receiver, b"one")
    made = opposite_receiver(sender, opposite.correction, b"two")
    new = opposite.finish(np.ascontiguousarray(made.set_up))
    blocks = np.empty(128 * 16, np.uint8)
    assert not np.array_equal(new.extend(128, made.extend(bytes_of(16), blocks)), blocks.reshape(128, 16))


def bytes_of(count):
    return np.zeros(count, np.uint8)


def test_a_library_without_lattices_is_said_at_once(monkeypatch):
    class Without:
        @staticmethod
        def from_seed_bytes(seed):
            raise UnsupportedAlgorithm("ML-KEM-768")

    base_ot.check_supported()
    monkeypatch.setattr(base_ot, "MLKEM768PrivateKey", Without)
    with pytest.raises(MissingPackageError, match="without ML-KEM"):
        base_ot.check_supported()
    with pytest.raises(MissingPackageError, match="without ML-KEM"):
        Server(PLAN, WEIGHTS)


def test_key_pairs_come_from_the_operating_system(monkeypatch):
    """In a process that is resumed twice from one snapshot, a library's own generator would repeat itself."""
    drawn, urandom = [], os.urandom
    monkeypatch.setattr(os, "urandom", lambda count: drawn.append(count) or urandom(count))
    BaseReceiver(BaseSender().message, np.zeros(128, np.uint8))
    assert drawn.count(64) >= 2 * 128  # scalars and seeds


def test_deltas_of_batches_differ():
    assert len({_core.Delta.random().to_bytes().tobytes() for _ in range(100)}) == 100
