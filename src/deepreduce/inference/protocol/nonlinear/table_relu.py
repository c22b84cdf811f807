"""Both roles of a ReLU after its comparison: the client opens one of the server's elements (docs/reference/protocol.md,
"ot", Elements).
"""

from __future__ import annotations

from typing import Self

import numpy as np

from .... import _core
from ....plan.execution.messages import Chunk, Vector
from ...zeroize import wipe, wiping
from .bits import Rows
from .table_client import TableClient
from .table_server import TableServer
from .tables import Material
from .vector import Bytes, Ring, State, group, narrow, part, random_bytes, unpack, wide


class ReluClient(TableClient):
    """Chooser of an element by its shares of sign and carry, and its own sign."""

    def _selecting(self, shares: Ring, row: int) -> list[Rows]:
        moves = list(random_bytes((1 + (self.vector.shift > 0)) * row).reshape(-1, row))
        sign = _negative(self.vector, shares)
        if not self._compared.bits:  # its share of the outcome is the sign of its share
            moves[0] = sign
        return [*moves, sign]

    def _multiplied(self, kept: Material, chunk: Chunk, blocks: Bytes) -> Ring:
        v, c = self.vector, self._compared
        row = c.transfers + 2 * c.ands
        pads = _core.select_pads_receive(self._key, row, group(chunk), v.selectors, blocks, chunk.padded, self._threads)
        kept["select"] = narrow(pads, v.ring_bits)
        with wiping(shares := kept["shares"].astype(np.uint64)):
            high: Ring = _core.shift_shares(shares, v.ring_bits, v.shift, v.width)[None]
        return high

    def _announce(self, kept: Material, row: int) -> Rows:
        top, carry = self._outcome(kept["nodes"], row)
        selecting = kept["selecting"]
        kept["sign"] = top ^ selecting[-1]
        moved = [carry ^ selecting[1]] if self.vector.shift else []
        return np.stack([kept["sign"] ^ selecting[0], *moved])

    def _open(self, chunk: Chunk, content: Bytes, kept: Material) -> Bytes:
        """Opens one element each and returns it, masked."""
        v, row = self.vector, chunk.padded // 8
        if not self._compared.bits:
            self._announce(kept, row)
        shares, select = wide(kept["shares"]), wide(kept["select"])
        products = wide(kept["products"]).reshape(-1)
        with wiping(shares, select, products, *kept.values()):
            opened = _core.elements_open(
                v.ring_bits,
                v.shift,
                v.width,
                shares,
                kept["sign"],
                content[:row],
                kept["selecting"],
                products,
                part(self.mask, chunk),
                select,
                unpack(content[row:], chunk.padded << v.selectors, v.ring_bits),
            )
        packed: Bytes = _core.pack(opened, v.ring_bits)
        return packed


class ReluServer(TableServer):
    """Maker of an element for every value of the client's bits, masked by rho."""

    def __init__(self, vector: Vector, threads: int = 1, salt: bytes = b"") -> None:
        super().__init__(vector, threads, salt)
        self._rho = narrow(_core.random_ring(vector.padded, vector.ring_bits), vector.ring_bits)

    def _keep_pads(self, kept: Material, chunk: Chunk, delta: _core.Delta, q: Bytes) -> None:
        v, c = self.vector, self._compared
        row = c.transfers + 2 * c.ands
        pads = _core.select_pads_send(self._key, row, group(chunk), v.selectors, delta, q, chunk.padded, self._threads)
        kept["select"] = narrow(pads, v.ring_bits)

    def _last(self, chunk: Chunk, shares: Ring, kept: Material) -> Bytes:
        """Return its share of the sign xor lambda, then masked elements for every value of the client's bits."""
        v, none = self.vector, np.empty(0, np.uint8)
        top, carry = self._outcome(kept["nodes"], chunk.padded // 8)
        if not self._compared.bits:
            kept["moved_sign"], kept["moved_carry"] = np.zeros_like(top), none
        sign = ~(_negative(v, shares) ^ top)
        masked_sign = sign ^ kept["lambda"][0]
        rho, select = wide(part(self._rho, chunk)), wide(kept["select"])
        u = wide(kept["u"]).reshape(-1)
        elements = _core.elements_mask(
            v.ring_bits,
            v.shift,
            v.width,
            np.ascontiguousarray(shares),
            sign,
            carry,
            kept["moved_sign"],
            kept["moved_carry"],
            masked_sign,
            u,
            rho,
            select,
        )
        if v.ring_bits <= 32:  # else these are what is kept
            wipe(rho, select, u)
        return np.concatenate([masked_sign, _core.pack(elements, v.ring_bits)])

    def _own(self, chunk: Chunk, shares: Ring, kept: Material) -> Ring:
        return part(self._rho, chunk)

    def state(self) -> State:
        """Return what `send` and `receive` need."""
        return {"rho": self._rho, **super().state()}

    @classmethod
    def restored(cls, vector: Vector, state: State, threads: int) -> Self:
        """Return the material of a `state`."""
        self = super().restored(vector, state, threads)
        self._rho = state["rho"]
        return self


def _negative(vector: Vector, shares: Ring) -> Rows:
    """Return a row of the shares' top bits within the window."""
    top = np.uint64(vector.shift + vector.width - 1)
    return np.packbits((shares >> top).astype(np.uint8) & 1, bitorder="little")
