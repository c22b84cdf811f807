"""The sizes of the messages of a vector of comparisons or shifts: an AGREEMENT that both compute from the plan.

A vector is cut into chunks, one frame per message each, so that computing and sending overlap.
docs/reference/protocol.md has the messages themselves; a session refuses any other length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .packing import bits_to_bytes

Protocol: TypeAlias = Literal["fused", "delphi"]
Function: TypeAlias = Literal["relu", "rescale"]

FRAME_HEADER = 8
GROUP = 16  # instances garbled in lockstep; a chunk is padded to whole groups
RELU_CHUNK = 2048  # elements per frame
RESCALE_CHUNK = 32768
HE_FRAME = 8  # ciphertexts per frame
OT_BLOCK = 128  # transfers that one step of the extension makes
LABEL = 16
AND_GATE = 2 * LABEL  # half gates
OT_BYTES = 4  # per transfer, from the receiver of the extension (SoftSpoken, k = 4)
HASH_KEY = 16  # public, at the head of the first chunk's garbled material


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of elements and the bytes of its messages, in the order they are sent; 0 where there is no such message."""

    first: int  # element
    elements: int
    padded: int  # to whole groups
    choices: int  # offline, client to server: transfers that choose the labels of the client's bits
    garbled: int  # offline, server to client: tables, and its own transfers' corrections
    products: int  # offline, client to server: corrections of products
    labels: int  # online, server to client
    answers: int  # online, client to server


@dataclass(frozen=True, slots=True)
class Vector:
    """``elements`` comparisons (function "relu") or right shifts ("rescale") that run together.

    ``width`` bits of the shifted shares are compared by the fused protocol; ``gates`` are AND gates per element.
    """

    function: Function
    protocol: Protocol
    elements: int
    ring_bits: int
    shift: int
    width: int
    gates: int
    chunks: tuple[Chunk, ...]

    @property
    def padded(self) -> int:
        """Elements of all chunks, each padded to whole groups."""
        return sum(chunk.padded for chunk in self.chunks)


def relu_vector(elements: int, ring_bits: int, shift: int, window: int, protocol: Protocol) -> Vector:
    """ReLUs with a truncation by ``shift`` bits. ``window``: bits that the sums may use (fused)."""
    if protocol == "delphi":
        return _garbled_vector("relu", elements, ring_bits, shift, 3 * (ring_bits - 1) - shift)
    width = window - shift

    def sizes(first: int, count: int, p: int) -> Chunk:
        garbled = AND_GATE * (width - 1) * p + ot_bytes(p) + (HASH_KEY if first == 0 else 0)
        labels = LABEL * width * p + bits_to_bytes(4 * p * ring_bits)
        ring = bits_to_bytes(p * ring_bits)
        return Chunk(first, count, p, ot_bytes(width * p), garbled, ring, labels, ring)

    return Vector("relu", "fused", elements, ring_bits, shift, width, width - 1, _chunks(elements, RELU_CHUNK, sizes))


def rescale_vector(elements: int, ring_bits: int, shift: int, protocol: Protocol) -> Vector:
    """Arithmetic right shifts by ``shift`` > 0 bits."""
    if protocol == "delphi":
        return _garbled_vector("rescale", elements, ring_bits, shift, 2 * (ring_bits - 1))

    def sizes(first: int, count: int, p: int) -> Chunk:
        garbled = ot_bytes(p) + (HASH_KEY if first == 0 else 0)
        return Chunk(
            first, count, p, 0, garbled, bits_to_bytes(p * shift), bits_to_bytes(p), bits_to_bytes(p * ring_bits)
        )

    return Vector("rescale", "fused", elements, ring_bits, shift, 0, 0, _chunks(elements, RESCALE_CHUNK, sizes))


def ot_bytes(transfers: int) -> int:
    """Return the extension's message for so many transfers: they are made in blocks."""
    return OT_BYTES * -(-transfers // OT_BLOCK) * OT_BLOCK


def frame_bytes(content: int) -> int:
    """Return a message with its header; no message costs nothing."""
    return FRAME_HEADER + content if content else 0


def _garbled_vector(function: Function, elements: int, ring_bits: int, shift: int, gates: int) -> Vector:
    def sizes(first: int, count: int, p: int) -> Chunk:
        # The client's inputs are its share and its next mask.
        garbled = AND_GATE * gates * p + (HASH_KEY if first == 0 else 0)
        answers = bits_to_bytes(p * ring_bits)
        return Chunk(first, count, p, ot_bytes(2 * ring_bits * p), garbled, 0, LABEL * ring_bits * p, answers)

    chunks = _chunks(elements, RELU_CHUNK, sizes)
    return Vector(function, "delphi", elements, ring_bits, shift, ring_bits, gates, chunks)


def _chunks(elements: int, size: int, sizes: Callable[[int, int, int], Chunk]) -> tuple[Chunk, ...]:
    """``sizes(first, elements, padded)`` of every chunk."""
    return tuple(
        sizes(first, count, -(-count // GROUP) * GROUP)
        for first in range(0, elements, size)
        for count in (min(size, elements - first),)
    )
