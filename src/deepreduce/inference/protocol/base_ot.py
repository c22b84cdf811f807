"""Base oblivious transfers: 128 keys chosen by the receiver's bits, from which the extension makes millions.

Each key is the hash of two shared secrets, so that it stays secret while either problem is hard: one of Diffie and
Hellman, one of lattices, which a quantum computer is not known to solve.

* "The Simplest Protocol for Oblivious Transfer" (Chou and Orlandi, LATINCRYPT 2015) over the prime-order group of
  Ed25519, with libsodium's constant-time point arithmetic. A point that is not in the group, or is the neutral one, is
  refused.
* Bellare and Micali's (CRYPTO 1989) with ML-KEM-768 (FIPS 203): the receiver has one key pair (t, rho), its other
  public key is (c - t, rho) for a c that the sender chose, and the sender encapsulates to both.

Semi-honest. The points hide the choices whatever can be computed; the lattice keys hide them by module-LWE.
"""

from __future__ import annotations

import hashlib
import os

import nacl.bindings as sodium
import nacl.exceptions
import numpy as np
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from numpy.typing import NDArray

from ...errors import MissingPackageError, SessionError
from ...plan.cost.traffic import BASE_OTS as COUNT, BASE_SEED as SEED, KEM_CIPHERTEXT, KEM_KEY, POINT
from ..zeroize import wipe, wiping, wiping_on_error

KEY, KEM_SEED = 16, 64
MODULUS = 3329  # of ML-KEM
COEFFICIENTS = 768  # of t, 12 bits each; 32 bytes of rho follow
ENCODED = COEFFICIENTS * 12 // 8
FITTING = 65536 // MODULUS * MODULUS  # 16-bit words below it are uniform modulo it
DRAWN = 1024  # words, of which 3.5 % are rejected
Bytes = NDArray[np.uint8]


def check_supported() -> None:
    """Raise `MissingPackageError` where the library `cryptography` was built without ML-KEM."""
    try:
        MLKEM768PrivateKey.from_seed_bytes(bytes(KEM_SEED))
    except UnsupportedAlgorithm:
        message = "the package `cryptography` of this Python was built with an OpenSSL without ML-KEM"
        raise MissingPackageError(message, "install the wheel of that package") from None


class BaseSender:
    """Has both keys of every transfer."""

    def __init__(self) -> None:
        self._scalar, self._seed = _scalar(), os.urandom(SEED)
        self._point = sodium.crypto_scalarmult_ed25519_base_noclamp(self._scalar)  # A
        self.message = self._point + self._seed  # to the receiver

    def keys(self, answer: bytes) -> tuple[Bytes, bytes]:
        """Return both keys of every transfer, uint8 [128 * 2 * 16], and the ciphertexts for the receiver.

        Raises `SessionError` at a point or a public key that cannot be one.
        """
        points, own = answer[: COUNT * POINT], self._point
        encoded = np.frombuffer(answer, np.uint8)[COUNT * POINT :].reshape(COUNT, KEM_KEY)
        out, ciphertexts = np.empty((COUNT, 2, KEY), np.uint8), bytearray()
        with wiping_on_error(out):
            for i, pair in enumerate(zip(encoded, _complements(encoded, self._seed), strict=True)):
                point = _valid(points[i * POINT : (i + 1) * POINT])
                # B - A is the neutral element only if the receiver knew A's scalar; libsodium refuses to multiply it.
                shifted = sodium.crypto_core_ed25519_sub(point, own)
                for bit, (base, public) in enumerate(zip((point, shifted), pair, strict=True)):
                    secret, ciphertext = _public_key(public).encapsulate()
                    ciphertexts += ciphertext
                    out[i, bit] = _key(i, self.message, point, _multiply(self._scalar, base), ciphertext, secret)
        return out.reshape(-1), bytes(ciphertexts)


class BaseReceiver:
    """Has the key of every transfer that its bit chose."""

    def __init__(self, sender: bytes, choices: Bytes) -> None:
        """``choices``: uint8 [128] of 0 and 1 (secret). Raises `SessionError` at a point that is not in the group."""
        self._sender, point, seed = sender, _valid(sender[:POINT]), sender[POINT:]
        self._masks = choices.astype(np.uint8) * np.uint8(255)
        points, self._shared = bytearray(), list[bytes]()
        for i in range(COUNT):
            scalar = _scalar()
            plain = sodium.crypto_scalarmult_ed25519_base_noclamp(scalar)
            both = np.frombuffer(plain + sodium.crypto_core_ed25519_add(plain, point), np.uint8).reshape(2, POINT)
            points += self._chosen(i, both[0], both[1]).tobytes()
            self._shared.append(_multiply(scalar, point))
        # Seeds of our own: a library's generator would go on as before in a process that was resumed twice.
        self._kem = [MLKEM768PrivateKey.from_seed_bytes(os.urandom(KEM_SEED)) for _ in range(COUNT)]
        own = np.frombuffer(bytearray(b"".join(k.public_key().public_bytes_raw() for k in self._kem)), np.uint8)
        own = own.reshape(COUNT, KEM_KEY)
        other = _complements(own, seed)
        # The key of choice 0: the own one, or the one that makes the own one the key of choice 1.
        with wiping(own, other):
            first = self._chosen(slice(None), own, other)
        self._points = bytes(points)
        self.message = self._points + first.tobytes()  # B_i, then the public keys, to the sender

    def keys(self, ciphertexts: bytes) -> Bytes:
        """Return the keys chosen, uint8 [128 * 16], from the sender's ciphertexts; the receiver is then used up."""
        both = np.frombuffer(ciphertexts, np.uint8).reshape(COUNT, 2, KEM_CIPHERTEXT)
        out = np.empty((COUNT, KEY), np.uint8)
        with wiping_on_error(out):
            for i in range(COUNT):
                chosen = self._chosen(i, both[i, 0], both[i, 1]).tobytes()
                point = self._points[i * POINT : (i + 1) * POINT]
                out[i] = _key(i, self._sender, point, self._shared[i], chosen, self._kem[i].decapsulate(chosen))
        self.close()
        return out.reshape(-1)

    def close(self) -> None:
        """Wipe the choices, and forget the secrets."""
        wipe(self._masks)
        self._shared, self._kem = [], []

    def _chosen(self, i: int | slice, zero: Bytes, one: Bytes) -> Bytes:
        """Return ``one`` where the bit is 1: by a mask, not by an index, as the choice is secret."""
        masks = self._masks[i, None] if isinstance(i, slice) else self._masks[i]
        return zero ^ ((zero ^ one) & masks)


def _complements(keys: Bytes, seed: bytes) -> Bytes:
    """Return (c - t, rho) for public keys (t, rho), uint8 [128, 1184]; an involution. c is expanded from the seed."""
    t = keys[:, :ENCODED].reshape(COUNT, COEFFICIENTS // 2, 3).astype(np.uint16)
    pairs = [t[..., 0] | (t[..., 1] & 15) << 8, t[..., 1] >> 4 | t[..., 2] << 4]
    found = np.stack(pairs, axis=-1).reshape(COUNT, COEFFICIENTS)
    if found.max() >= MODULUS:
        raise SessionError("the peer sent a public key that is none", "it may be another version; connect again")
    c = np.stack([_uniform(seed, i) for i in range(COUNT)])
    difference = c + MODULUS - found
    difference -= MODULUS * (difference >= MODULUS).astype(np.uint16)  # without a division: one key is secret
    low, high = np.moveaxis(difference.reshape(COUNT, -1, 2), 2, 0)
    packed = np.stack([low & 255, low >> 8 | (high & 15) << 4, high >> 4], axis=-1).astype(np.uint8)
    return np.concatenate([packed.reshape(COUNT, ENCODED), keys[:, ENCODED:]], axis=1)


def _uniform(seed: bytes, number: int) -> NDArray[np.uint16]:
    """uint16 [768], uniform modulo 3329 (SHAKE-128, FIPS 202)."""
    drawn = hashlib.shake_128(b"deepreduce base OT" + bytes([number]) + seed).digest(2 * DRAWN)
    words = np.frombuffer(drawn, "<u2")
    fitting = words[words < FITTING][:COEFFICIENTS]
    assert len(fitting) == COEFFICIENTS  # but with probability 2^-456
    return (fitting % MODULUS).astype(np.uint16)


def _public_key(encoded: Bytes) -> MLKEM768PublicKey:
    try:
        return MLKEM768PublicKey.from_public_bytes(encoded.tobytes())
    except ValueError:
        raise SessionError("the peer sent a public key that is none", "connect again") from None


def _scalar() -> bytes:
    """Uniform modulo the group's order."""
    return sodium.crypto_core_ed25519_scalar_reduce(os.urandom(64))


def _valid(point: bytes) -> bytes:
    if len(point) != POINT or not sodium.crypto_core_ed25519_is_valid_point(point):
        raise SessionError("the peer sent a point that is not in the group", "it may be another version; connect again")
    return bytes(point)


def _multiply(scalar: bytes, point: bytes) -> bytes:
    try:
        return sodium.crypto_scalarmult_ed25519_noclamp(scalar, point)
    except (nacl.exceptions.RuntimeError, nacl.exceptions.CryptoError):
        raise SessionError("the peer sent a point of small order", "connect again") from None


def _key(number: int, sender: bytes, receiver: bytes, shared: bytes, ciphertext: bytes, secret: bytes) -> Bytes:
    """Return the hash of both secrets and of what they were agreed by."""
    digest = hashlib.sha256(b"deepreduce base OT" + bytes([number]) + sender + receiver + shared + ciphertext + secret)
    return np.frombuffer(digest.digest()[:KEY], np.uint8)
