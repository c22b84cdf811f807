"""One batch's bulk as a file: arrays under authenticated encryption, with a key that lives elsewhere.

    header   magic (8), length of the plain text (8)
    segments of 1 MiB of plain text, each AES-256-GCM under the batch's key, its number as nonce, the header and the
             batch's id as associated data: a segment cannot be moved, swapped or cut off
    plain    length of the index (8), the index (JSON: facts; name, type, shape, place of every array), the arrays,
             each at a multiple of 64 bytes

A key seals one file, so nonces do not repeat. Without the key the file cannot be read: that is how it is burnt.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from ...errors import StoreError
from ...files import parse_json
from ..protocol.material import Plain
from ..zeroize import wiping, wiping_on_error

KEY = 32
MAGIC = b"DEEPRED1"
HEADER = struct.Struct("<8sQ")
LENGTH = struct.Struct("<Q")
SEGMENT = 1 << 20
TAG = 16
ALIGN = 64
NUMBERS = re.compile("[<|][biuf][1248]")


class DamagedError(StoreError):
    """The file is not what was sealed."""


def sealed_bytes(plain: Plain) -> int:
    """Return the length of the encrypted file."""
    length = _layout(plain)[1]
    return HEADER.size + length + TAG * -(-length // SEGMENT)


def expected_bytes(content: int) -> int:
    """Return how long an encrypted file becomes, at most, whose arrays are predicted to take ``content`` bytes."""
    return content + content // 50 + (1 << 16)  # the index, what arrays are padded with, tags


def seal(write: Callable[[memoryview], None], key: bytes | bytearray, batch_id: bytes, plain: Plain) -> None:
    """Hands the file to ``write``, piece by piece."""
    head, length = _layout(plain)
    header = HEADER.pack(MAGIC, length)
    write(memoryview(header))
    cipher, sealed = AESGCM(key), memoryview(bytearray(SEGMENT + TAG))
    for number, segment in enumerate(_segments(head, plain)):
        cipher.encrypt_into(_nonce(number), segment, header + batch_id, sealed[: len(segment) + TAG])
        write(sealed[: len(segment) + TAG])


def unseal(file: int, key: bytes | bytearray, batch_id: bytes) -> Plain:
    """Return what the open file holds. Raises `DamagedError`, `OSError`."""
    size = os.fstat(file).st_size
    header = os.pread(file, HEADER.size, 0)
    magic, length = HEADER.unpack(header) if len(header) == HEADER.size else (b"", 0)
    count = -(-length // SEGMENT)
    if magic != MAGIC or length < LENGTH.size or size != HEADER.size + length + TAG * count:
        raise DamagedError("it is cut, or no file of a store")
    if len(key) != KEY:
        raise DamagedError(f"its key has {len(key)} bytes instead of {KEY}")
    content = _aligned(length)
    cipher, sealed = AESGCM(key), memoryview(bytearray(SEGMENT + TAG))
    view = memoryview(content)  # type: ignore[arg-type]
    with wiping_on_error(content):
        for number in range(count):
            part = view[number * SEGMENT : (number + 1) * SEGMENT]
            taken = sealed[: len(part) + TAG]
            if os.preadv(file, [taken], HEADER.size + number * (SEGMENT + TAG)) != len(taken):
                raise DamagedError("it is cut")
            try:
                cipher.decrypt_into(_nonce(number), taken, header + batch_id, part)
            except InvalidTag:
                raise DamagedError("its content was changed") from None
    try:
        return _read(content)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise DamagedError("its index cannot be read") from error


def _layout(plain: Plain) -> tuple[bytes, int]:
    """Return the plain text up to the first array, and its whole length."""
    index, at = [], 0
    for name, array in plain.arrays.items():
        index.append([name, array.dtype.str, list(array.shape), at])
        at += -(-array.nbytes // ALIGN) * ALIGN
    text = json.dumps({"facts": plain.facts, "arrays": index}, separators=(",", ":")).encode()
    text += b" " * (-(LENGTH.size + len(text)) % ALIGN)
    return LENGTH.pack(len(text)) + text, LENGTH.size + len(text) + at


def _segments(head: bytes, plain: Plain) -> Iterator[memoryview]:
    """Yield the plain text in pieces of `SEGMENT` bytes, the last shorter; one buffer, overwritten each time."""
    content, filled = bytearray(SEGMENT), 0
    buffer = memoryview(content)
    with wiping(content):
        for part in _parts(head, plain):
            while len(part):
                taken = min(len(part), SEGMENT - filled)
                buffer[filled : filled + taken] = part[:taken]
                part, filled = part[taken:], filled + taken
                if filled == SEGMENT:
                    yield buffer
                    filled = 0
        if filled:
            yield buffer[:filled]


def _parts(head: bytes, plain: Plain) -> Iterator[memoryview]:
    yield memoryview(head)
    for array in plain.arrays.values():
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        yield memoryview(flat)  # type: ignore[arg-type]
        yield memoryview(bytes(-flat.nbytes % ALIGN))


def _read(content: NDArray[np.uint8]) -> Plain:
    (index_length,) = LENGTH.unpack(content[: LENGTH.size].tobytes())
    start = LENGTH.size + index_length
    index: dict[str, Any] = parse_json(content[LENGTH.size : start].tobytes())
    arrays: dict[str, NDArray[Any]] = {}
    for name, kind, shape, at in index["arrays"]:
        if not NUMBERS.fullmatch(kind):  # numpy would read it as Python
            raise ValueError(f"a type {kind:.20}")
        dtype = np.dtype(kind)
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = content[start + at : start + at + count * dtype.itemsize].view(dtype).reshape(shape)
    return Plain(arrays, index["facts"])


def _aligned(length: int) -> NDArray[np.uint8]:
    """uint8 [length] at a multiple of `ALIGN`."""
    raw = np.empty(length + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + length]


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")
