"""Both roles of a right shift after its comparison: the carries are opened, masked (docs/reference/protocol.md, "ot",
Elements).
"""

from __future__ import annotations

import numpy as np

from .... import _core
from ....plan.execution.messages import Chunk, Vector
from ...zeroize import wiping
from .bits import Rows
from .table_client import TableClient
from .table_server import TableServer
from .tables import Material
from .vector import Bytes, Ring, part, random_bytes


class ShiftClient(TableClient):
    """Owner of one share of the bits that hide the carries."""

    def _numbers(self, shares: Ring) -> Ring:
        with wiping(raised := shares + _half(self.vector)):
            return super()._numbers(raised)

    def _selecting(self, shares: Ring, row: int) -> list[Rows]:
        """Bits that hide the carries: they are opened, and select nothing."""
        return list(random_bytes(2 * row).reshape(2, row))

    def _multiplied(self, kept: Material, chunk: Chunk, blocks: Bytes) -> Ring:
        with wiping(own := _weighed(self.vector, kept["selecting"])):
            own *= np.uint64(2**64 - 2)
            return own & self._mask

    def _completed(self, products: Ring, kept: Material) -> Ring:
        with wiping(own := _weighed(self.vector, kept["selecting"])):
            products += own
        return super()._completed(products, kept)

    def _announce(self, kept: Material, row: int) -> Rows:
        announced: Rows = np.stack(self._outcome(kept["nodes"], row))
        announced ^= kept["selecting"]
        kept["announced"] = announced
        return announced

    def _open(self, chunk: Chunk, content: Bytes, kept: Material) -> Bytes:
        """Return its shifted share, with its shares of what the carries weigh, masked."""
        v = self.vector
        opened = as_words(content.reshape(2, -1) ^ kept["announced"])  # known to both
        hidden, high = kept["products"].astype(np.uint64), kept["shares"].astype(np.uint64)
        with wiping(hidden, *kept.values()):
            high += _half(v)
            high = _sum_up(v, high, hidden, opened)
            high -= (_half(v) >> np.uint64(v.shift)) + part(self.mask, chunk)
            high &= self._mask
        packed: Bytes = _core.pack(high, v.ring_bits)
        return packed


class ShiftServer(TableServer):
    """Owner of the other share of the bits that hide the carries."""

    def _completed(self, u: Ring, kept: Material) -> Ring:
        with wiping(own := _weighed(self.vector, kept["lambda"])):
            u += own
        u &= self._mask
        return u

    def _last(self, chunk: Chunk, shares: Ring, kept: Material) -> Bytes:
        """Return its shares of the two carries xor lambda; with the client's they open them xor both lambdas."""
        masked = np.stack(self._outcome(kept["nodes"], chunk.padded // 8))
        masked ^= kept["lambda"]
        kept["opened"] = masked ^ np.stack([kept["moved_sign"], kept["moved_carry"]])
        return masked.reshape(-1)

    def _own(self, chunk: Chunk, shares: Ring, kept: Material) -> Ring:
        """Return its shifted share, with its shares of what the carries weigh."""
        opened, hidden = as_words(kept["opened"]), kept["u"].astype(np.uint64)
        with wiping(hidden):
            result = _sum_up(self.vector, shares.copy(), hidden, opened)
        for value, weight in zip(opened, _weights(self.vector), strict=True):
            result += value * weight
        return result


def as_words(rows: Rows) -> Ring:
    """Return rows of bits as words 0 and 1, uint64 [rows, elements].

    Not by `numpy.unpackbits`, which looks bytes up in a table: these are secret.
    """
    bits = rows[..., None] >> np.arange(8, dtype=np.uint8)
    bits &= np.uint8(1)
    with wiping(bits):
        return bits.reshape(*rows.shape[:-1], -1).astype(np.uint64)


def _weights(vector: Vector) -> tuple[np.uint64, np.uint64]:
    """Return what the carries out of the top and of the low bits weigh."""
    return np.uint64(-(1 << vector.width) % 2**64), np.uint64(1)


def _weighed(vector: Vector, rows: Rows) -> Ring:
    """Return rows of bits, one for each carry, times what it weighs."""
    words = as_words(rows)
    words *= np.array(_weights(vector))[:, None]
    return words


def _half(vector: Vector) -> np.uint64:
    """Return half of the window, which makes numbers without a sign of those with one."""
    return np.uint64(1 << (vector.shift + vector.width - 1))


def _sum_up(vector: Vector, shares: Ring, hidden: Ring, opened: Ring) -> Ring:
    """Return the shares' bits that a shift keeps of its window, plus (1 - 2v) times the share of what each carry's
    hidden bit weighs. Overwrites ``shares`` and ``hidden``.
    """
    shares >>= np.uint64(vector.shift)
    shares &= np.uint64(2**vector.width - 1)
    hidden *= np.uint64(1) - (opened << np.uint64(1))  # 1 for 0 and -1 for 1
    for term in hidden:
        shares += term
    return shares
