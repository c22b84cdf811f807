"""Inputs that say how something well-formed is damaged: small, whatever the length of what they damage.

A message of a session is tens of thousands of bytes, most of them random, and without a right beginning no later one is
ever read. So the input is a list of edits of what an honest party sends.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_PATCH = struct.Struct("<HBB")  # low and high part of a place, length
_EDIT = struct.Struct("<BBHBB")  # frame, operation, place as above, length
FRAMES = 16  # more than any party sends in one session of the small plan


@dataclass(frozen=True)
class Edit:
    """Of one frame, its header included."""

    frame: int
    operation: str
    place: int
    content: bytes

    def applied(self, frame: bytes) -> bytes:
        """What is sent in place of the frame."""
        place = self.place % max(1, len(frame))
        match self.operation:
            case "write":
                return frame[:place] + self.content + frame[place + len(self.content) :]
            case "insert":
                return frame[:place] + self.content + frame[place:]
            case "delete":
                return frame[:place] + frame[place + 1 + len(self.content) :]
            case "cut":
                return frame[:place]
            case "double":
                return frame + frame
            case "replace":
                return self.content
            case "fill":
                return frame[:place] + (self.content[:1] or b"\xff") * (len(frame) - place)
            case _:
                raise AssertionError(self.operation)


OPERATIONS = ("write", "insert", "delete", "cut", "double", "replace", "fill")


def patched(base: bytes, data: bytes) -> bytes:
    """``base`` with runs of bytes written over it; its length stays, as a frame's header has announced it."""
    out = bytearray(base)
    for place, content in _patches(data):
        at = place % max(1, len(out))
        content = content[: len(out) - at]
        out[at : at + len(content)] = content
    return bytes(out)


def patch(place: int, content: bytes) -> bytes:
    """One run of `patched`."""
    return _PATCH.pack(place & 0xFFFF, place >> 16, len(content)) + content


def edits(data: bytes) -> list[Edit]:
    """All whole edits of an input."""
    found = []
    while len(data) >= _EDIT.size:
        frame, operation, low, high, length = _EDIT.unpack_from(data)
        content, data = data[_EDIT.size : _EDIT.size + length], data[_EDIT.size + length :]
        found.append(Edit(frame % FRAMES, OPERATIONS[operation % len(OPERATIONS)], low | high << 16, content))
    return found


def edit(frame: int, operation: str, place: int = 0, content: bytes = b"") -> bytes:
    """The input of one edit."""
    return _EDIT.pack(frame, OPERATIONS.index(operation), place & 0xFFFF, place >> 16, len(content)) + content


def parts(data: bytes, count: int) -> list[bytes]:
    """``count`` parts, each but the last behind its length in two bytes."""
    found = []
    for _ in range(count - 1):
        length = int.from_bytes(data[:2], "little")
        found.append(data[2 : 2 + length])
        data = data[2 + length :]
    return [*found, data]


def joined(*contents: bytes) -> bytes:
    """The inverse of `parts`."""
    *first, last = contents
    return b"".join(len(content).to_bytes(2, "little") + content for content in first) + last


def _patches(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _PATCH.size:
        low, high, length = _PATCH.unpack_from(data)
        yield low | high << 16, data[_PATCH.size : _PATCH.size + length]
        data = data[_PATCH.size + length :]
