"""Base oblivious transfers: 128 keys chosen by the receiver's bits, from which the extension makes millions.

"The Simplest Protocol for Oblivious Transfer" (Chou and Orlandi, LATINCRYPT 2015) over the prime-order group of
Ed25519, with libsodium's constant-time point arithmetic; semi-honest. A point that is not in the group, or is the
neutral one, is refused.
"""

from __future__ import annotations

import hashlib
import os

import nacl.bindings as sodium
import nacl.exceptions
import numpy as np
from numpy.typing import NDArray

from ...errors import SessionError
from ..zeroize import wipe

COUNT = 128
POINT = 32
KEY = 16
Bytes = NDArray[np.uint8]


class BaseSender:
    """Has both keys of every transfer."""

    def __init__(self) -> None:
        self._scalar = _scalar()
        self.message = sodium.crypto_scalarmult_ed25519_base_noclamp(self._scalar)  # A, to the receiver

    def keys(self, points: bytes) -> Bytes:
        """Return both keys of every transfer, uint8 [128 * 2 * 16], from the receiver's points."""
        own = self.message
        out = np.empty((COUNT, 2, KEY), np.uint8)
        for i in range(COUNT):
            point = _valid(points[i * POINT : (i + 1) * POINT])
            # B - A is the neutral element only if the receiver knew A's scalar; libsodium refuses to multiply it.
            shifted = sodium.crypto_core_ed25519_sub(point, own)
            for bit, base in enumerate((point, shifted)):
                out[i, bit] = _key(i, own, point, _multiply(self._scalar, base))
        return out.reshape(-1)


class BaseReceiver:
    """Has the key of every transfer that its bit chose."""

    def __init__(self, sender: bytes, choices: Bytes) -> None:
        """``choices``: uint8 [128] of 0 and 1 (secret)."""
        sender = _valid(sender)
        points = bytearray()
        masks = choices.astype(np.uint8) * np.uint8(255)
        out = np.empty((COUNT, KEY), np.uint8)
        for i in range(COUNT):
            scalar = _scalar()
            plain = sodium.crypto_scalarmult_ed25519_base_noclamp(scalar)
            both = np.frombuffer(plain + sodium.crypto_core_ed25519_add(plain, sender), np.uint8).reshape(2, POINT)
            # Chosen by a mask, not by an index: the choice is secret.
            point = (both[0] ^ ((both[0] ^ both[1]) & masks[i])).tobytes()
            points += point
            out[i] = _key(i, sender, point, _multiply(scalar, sender))
        wipe(masks)
        self.message = bytes(points)  # B_i, to the sender
        self.keys = out.reshape(-1)


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


def _key(number: int, sender: bytes, receiver: bytes, shared: bytes) -> Bytes:
    digest = hashlib.sha256(b"deepreduce base OT" + bytes([number]) + sender + receiver + shared).digest()
    return np.frombuffer(digest[:KEY], np.uint8)
