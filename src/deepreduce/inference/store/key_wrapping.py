"""The secrets of a store's database under the store key: without it the folder tells nothing of what is ready.

AES-256-SIV (RFC 5297), which is deterministic: there is no nonce that a copy or a crash could repeat. Its key is HKDF
of the user's store key and the store's own salt, so that one key may lock many stores. What a secret belongs to is
bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ...errors import StoreError
from ..zeroize import wipe
from .key_sources import KeySource

SALT = 32
TAG = 16
HINT = "give the key that it was made with (`store_key` FILE); if that is lost, delete the folder and prepare again"


class WrongKeyError(StoreError):
    """An error for a secret wrapped under another key or for another purpose, or changed."""


class Wrapping:
    """One store's. It holds the derived key as long as the store is open."""

    def __init__(self, store_key: bytearray, salt: bytes) -> None:
        derived = bytearray(64)
        HKDF(SHA256(), len(derived), salt, b"deepreduce store").derive_into(store_key, derived)
        self._cipher = AESSIV(derived)
        wipe(derived)

    def wrap(self, secret: bytes | bytearray, bound: Iterable[bytes]) -> bytes:
        """``secret`` under the key; only for the same ``bound`` can it be unwrapped."""
        return self._cipher.encrypt(secret, list(bound))

    def unwrap(self, wrapped: bytes, bound: Iterable[bytes]) -> bytearray:
        """Return the secret, to be wiped by the caller. Raises `WrongKeyError`."""
        secret = bytearray(max(0, len(wrapped) - TAG))
        try:
            self._cipher.decrypt_into(wrapped, list(bound), secret)
        except (InvalidTag, ValueError):
            wipe(secret)
            raise WrongKeyError("its key does not open it", "prepare again") from None
        return secret


def new_lock(sources: Sequence[KeySource], salt: bytes) -> tuple[Wrapping, str | None]:
    """Wrap the secret of a new store under the first available key or a new one; also return a notice for the user."""
    told = None
    for source in sources:
        if (key := source.read()) is not None:
            break
    else:
        key = sources[0].make()
        told = f"a key for stores is in {sources[0].name}: without it what is prepared is lost, keep it to yourself"
    wrapping = Wrapping(key, salt)
    wipe(key)
    return wrapping, told


def open_lock(
    sources: Sequence[KeySource], salt: bytes, secret: bytes, bound: Sequence[bytes], folder: Path
) -> tuple[Wrapping, bytearray]:
    """Unwrap the store's secret with the key that fits. Raises `StoreError` if none does."""
    failures: list[StoreError] = []
    for source in sources:
        try:
            key = source.read()
        except StoreError as error:
            failures.append(error)
            continue
        if key is not None:
            wrapping = Wrapping(key, salt)
            wipe(key)
            try:
                return wrapping, wrapping.unwrap(secret, bound)
            except WrongKeyError:
                failures.append(StoreError(f"the store {folder} is locked with another key than {source.name}", HINT))
    if failures:
        raise failures[0]
    places = " or ".join(source.name for source in sources)
    raise StoreError(f"the store {folder} is locked, and there is no key in {places}", HINT)
