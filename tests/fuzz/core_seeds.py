"""Seeds of the core's targets: short inputs in the order in which cpp/input.hpp takes bytes."""

from __future__ import annotations


def message(kind: int, *runs: tuple[int, bytes]) -> bytes:
    """A message of zeros (0), ones (1) or a stream (2 ...), with runs of bytes written over it."""
    written = b"".join(place.to_bytes(3, "little") + bytes([len(content)]) + content for place, content in runs)
    return bytes([kind, len(runs)]) + written


ZEROS, ONES, STREAM = message(0), message(1), message(2)
EDGES = message(2, (0, b"\xff" * 9), (70, b"\0" * 20), (51_200, b"\xff" * 7))
MESSAGES = (ZEROS, ONES, STREAM, EDGES)
BITS, SIZES = (1, 7, 32, 33, 64), (64, 20, 2)
SEEDS = {
    "ring": [bytes([bits - 1, 37]) + kind + bytes(range(3, 60, 7)) + kind for bits in BITS for kind in MESSAGES],
    "he_messages": [
        *(bytes([ring, 1]) + kind for ring in (18, 30, 31, 62) for kind in MESSAGES),
        *(bytes([ring, 0, 0, 9]) + kind for ring in (0, 5, 18, 30, 31, 46, 62) for kind in MESSAGES),
    ],
    "he_client": [bytes([ring, 2, 3, 1, 2, 3, 2, 9, 9]) + kind + b"\1" for ring in range(7) for kind in MESSAGES],
    "he_server": [bytes([ring, 1, 2]) + key + kind for ring in range(4) for key in (STREAM, ONES) for kind in MESSAGES],
    "ot": [
        bytes([k, 29, 5, 1, 2]) + first + kind * 5
        for k in range(3)
        for first in (STREAM, ZEROS)
        for kind in (STREAM, EDGES)
    ],
    "gc": [
        bytes([bits - 2, 1, circuit, 2, 2, 1]) + STREAM + kind * 3
        for bits in SIZES
        for circuit in (0, 1)
        for kind in MESSAGES
    ],
}
