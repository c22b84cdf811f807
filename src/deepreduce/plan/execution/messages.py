"""The sizes of the messages of a vector of comparisons or shifts: an AGREEMENT that both compute from the plan.

A vector is cut into chunks, one frame per message each, so that computing and sending overlap.
docs/reference/protocol.md has the messages themselves; a session refuses any other length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

from ...errors import SettingError
from .comparison import Comparison, comparison
from .packing import bits_to_bytes

Protocol: TypeAlias = Literal["ot", "delphi"]
PROTOCOLS: tuple[Protocol, ...] = ("ot", "delphi")
ProtocolChoice: TypeAlias = Literal["auto", "ot", "delphi"]
DEFAULT: Protocol = "ot"
Function: TypeAlias = Literal["relu", "rescale"]

REMOVED = {"fused": "its roundings, which the client knew, gave the weights away over repeated predictions"}

FRAME_HEADER = 8
GROUP = 16  # instances garbled in lockstep; a chunk is padded to whole groups
CHUNK = 2048  # elements per frame
TABLE_CHUNK = 8192  # of `ot`, whose rows of bits are short
HE_FRAME = 8  # ciphertexts per frame
OT_BLOCK = 128  # transfers that one step of the extension makes
LABEL = 16
AND_GATE = 2 * LABEL  # half gates
OT_BYTES = 4  # per transfer, from the receiver of the extension (SoftSpoken, k = 4)
HASH_KEY = 16  # public, at the head of the first chunk's GARBLED frame


def check_protocol(name: str) -> None:
    """Raise `SettingError` for a protocol that is unknown or was removed."""
    if name in REMOVED:
        raise SettingError(f"protocol {name!r} was removed: {REMOVED[name]}", f"use {DEFAULT}, which is exact")
    if name not in PROTOCOLS:
        raise SettingError(f"unknown protocol {name!r:.40}", f"known: {', '.join(PROTOCOLS)}")


class Round(NamedTuple):
    """Bytes of one exchange online; 0 for a message that is not sent."""

    down: int  # server to client
    up: int  # client to server


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of elements and the bytes of its messages, in the order they are sent; 0 where there is no such message."""

    first: int  # element
    elements: int
    padded: int  # to whole groups
    choices: int  # offline, client to server: corrections of the transfers in which the client chooses
    garbled: int  # offline, server to client: tables, and corrections of the transfers in which the server chooses
    products: int  # offline, client to server: corrections of products
    rounds: tuple[Round, ...]  # online


@dataclass(frozen=True, slots=True)
class Vector:
    """``elements`` comparisons (function "relu") or right shifts ("rescale") that run together.

    ``width`` bits of the shifted shares are compared by `ot`; ``gates`` are AND gates per element of `delphi`.
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

    @property
    def rounds(self) -> int:
        """Round trips online."""
        return len(self.chunks[0].rounds) if self.chunks else 0

    @property
    def comparison(self) -> Comparison:
        """Shape of the comparison of `ot`: all bits of a ReLU's window but the sign, or all bits of a shift's."""
        return comparison(self.shift, self.width - (self.function == "relu"))

    @property
    def transfers(self) -> int:
        """Transfers of an element of `ot`: those in which the client chooses, then those in which the server does."""
        compared = self.comparison
        return compared.transfers + 2 * compared.ands + self.selectors + compared.bits + self.products

    @property
    def selectors(self) -> int:
        """Bits that select one of the elements of a ReLU by `ot`: the outcome, the carry if there is one, the client's
        sign.
        """
        return 2 + (self.shift > 0) if self.function == "relu" else 0

    @property
    def products(self) -> int:
        """Products of a bit of the server's and a ring element of the client's, of an element of `ot`."""
        return 1 if self.function == "relu" else 2


def relu_vector(elements: int, ring_bits: int, shift: int, window: int, protocol: Protocol) -> Vector:
    """ReLUs with a truncation by ``shift`` bits. ``window``: bits that the sums may use (`ot`)."""
    if protocol == "delphi":
        return _garbled_vector("relu", elements, ring_bits, shift, 3 * (ring_bits - 1) - shift)
    return _table_vector("relu", elements, ring_bits, shift, window - shift)


def rescale_vector(elements: int, ring_bits: int, shift: int, window: int, protocol: Protocol) -> Vector:
    """Arithmetic right shifts by ``shift`` > 0 bits. ``window``: bits that the sums may use (`ot`)."""
    if protocol == "delphi":
        return _garbled_vector("rescale", elements, ring_bits, shift, 2 * (ring_bits - 1))
    return _table_vector("rescale", elements, ring_bits, shift, window - shift)


def _table_vector(function: Function, elements: int, ring_bits: int, shift: int, width: int) -> Vector:
    shape = Vector(function, "ot", elements, ring_bits, shift, width, 0, ())
    compared, selectors = shape.comparison, shape.selectors

    def sizes(first: int, count: int, p: int) -> Chunk:
        chosen = compared.transfers + 2 * compared.ands + selectors
        garbled = ot_bytes((compared.bits + shape.products) * p) + (HASH_KEY if first == 0 else 0)
        products = bits_to_bytes(shape.products * p * ring_bits)
        return Chunk(first, count, p, ot_bytes(chosen * p), garbled, products, _table_rounds(shape, p))

    return replace(shape, chunks=_chunks(elements, TABLE_CHUNK, sizes))


def _table_rounds(shape: Vector, p: int) -> tuple[Round, ...]:
    """Tables; shares and products of bits; elements of a ReLU, or the bits that a shift opens."""
    compared, row = shape.comparison, p // 8
    rounds = [Round(compared.opening_bytes(p), compared.table_bytes(p))]
    for number, layer in enumerate(compared.layers):
        ands = 2 * sum(merge.ands for merge in layer)
        rounds.append(Round(row * (ands + (0 if number else compared.products)), row * ands))
    if compared.products and not compared.layers:
        rounds.append(Round(row * compared.products, 0))
    rounds[-1] = Round(rounds[-1].down, rounds[-1].up + row * (1 + (shape.shift > 0)))
    elements = row + bits_to_bytes(p * shape.ring_bits << shape.selectors)
    last = Round(elements if shape.function == "relu" else 2 * row, bits_to_bytes(p * shape.ring_bits))
    return (*rounds, last) if compared.bits else (last,)  # without bits to compare the client has chosen offline


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
        rounds = (Round(LABEL * ring_bits * p, answers),)
        return Chunk(first, count, p, ot_bytes(2 * ring_bits * p), garbled, 0, rounds)

    return Vector(function, "delphi", elements, ring_bits, shift, ring_bits, gates, _chunks(elements, CHUNK, sizes))


def _chunks(elements: int, size: int, sizes: Callable[[int, int, int], Chunk]) -> tuple[Chunk, ...]:
    """``sizes(first, elements, padded)`` of every chunk."""
    return tuple(
        sizes(first, count, -(-count // GROUP) * GROUP)
        for first in range(0, elements, size)
        for count in (min(size, elements - first),)
    )
