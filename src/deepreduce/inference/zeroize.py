"""Overwrites secrets in place after use.

An array is filled by numpy, a bytearray by slice assignment: calls into a library that no compiler can see through, so
none may drop them. What this cannot reach are copies that others made: `bytes` and `str` never change, and a library
may keep its own. SECURITY.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core

Secret = NDArray[Any] | bytearray


def fresh_key(count: int) -> bytearray:
    """``count`` random bytes, a multiple of 8, without the copy that `os.urandom` would leave."""
    words = _core.random_ring(count // 8, 64)
    with wiping(words):
        return bytearray(words.view(np.uint8))


def wipe(*secrets: Secret) -> None:
    """Zeros in place, through views too; an array that cannot be written (of somebody else's bytes) stays."""
    for secret in secrets:
        if isinstance(secret, bytearray):
            secret[:] = bytes(len(secret))
        elif secret.flags.writeable:
            # As bytes it is one memset.
            flat = secret.reshape(-1).view(np.uint8) if secret.flags.c_contiguous else secret
            flat.fill(0)


@contextmanager
def wiping(*secrets: Secret) -> Iterator[None]:
    """They are wiped when the block ends, with or without an error."""
    try:
        yield
    finally:
        wipe(*secrets)


@contextmanager
def wiping_on_error(*secrets: Secret) -> Iterator[None]:
    """They are wiped when the block ends with an error."""
    try:
        yield
    except BaseException:
        wipe(*secrets)
        raise


def wipe_within(holder: object) -> None:
    """Every array and bytearray among an object's attributes, also in dicts and tuples there."""
    waiting = list(vars(holder).values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, np.ndarray | bytearray):
            wipe(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, tuple):
            waiting.extend(value)


def wipe_unless_shared(secrets: Iterable[NDArray[Any]], kept: Iterable[NDArray[Any]]) -> None:
    """Overwrite the arrays that share no memory with those to keep: shares may be views of masks."""
    kept = list(kept)
    for secret in secrets:
        if not any(np.may_share_memory(secret, one) for one in kept):
            wipe(secret)
