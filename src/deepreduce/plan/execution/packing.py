"""Packing of a linear op into products of polynomials: an AGREEMENT that both parties compute from the plan.

Coefficient encoding in Z_q[X]/(X^N + 1) (Huang et al., "Cheetah", USENIX Security 2022, section 3), with strides by
polyphase and maps cut into tiles. After polyphase an op is a plain convolution of stride 1 without padding: C' channels
of (H_o + k_h - 1) x (W_o + k_w - 1) to O channels of H_o x W_o. Each tile of T_h x T_w outputs reads an area of
A = A_h * A_w = (T_h + k_h - 1)(T_w + k_w - 1); a polynomial holds the areas of C_w channels, a product M outputs:

    upload       sum over c, i, k     of x[c, i, k]    X^(c + C_w (i A_w + k))
    weights      sum over m, c, u, v  of w[m, c, u, v] X^(C_w (m A + (k_h - 1 - u) A_w + k_w - 1 - v) - c)
    product      y[m, i, k] is the coefficient of      X^(C_w (m A + (i + k_h - 1) A_w + k + k_w - 1))

As M C_w A <= N, what wraps around X^N = -1 lands below the first coefficient that is read, and no other exponent is a
multiple of C_w that is. The server packs P products, a power of two that divides C_w, into one response, moved by 0,
C_w / P, 2 C_w / P, ... (cpp/he/packing.hpp).

Packing takes the server's time and saves bytes, so the plan's link decides: computing of either party and bytes either
way overlap, so of all layouts that one is chosen whose longest of the four is shortest, a quarter of the others added.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import PlanError
from ..schema import LINK_RATE, PARAMETER_SETS, PRIME_BITS, Conv, Linear, ParameterSet, Plan
from ..shapes import Shape, shape_of, shapes

SEED_BYTES = 16
RESPONSE_MASK_BITS = 12  # beyond the ring, of c1 after switching down
RESPONSE_VALUE_BITS = 6  # beyond the ring, of each useful coefficient of c0

# Nanoseconds on one core, measured with AVX-512 at N = 4096 and two primes. They decide the layout: AGREEMENT.
ENCRYPT_NS = 40_000  # an upload, by the client
RECEIVE_NS = 14_000
PRODUCT_NS = 6_800  # of polynomials
SUM_NS = 48_000  # the products of an output block, re-randomized
MERGE_NS = 60_000  # of two of them
RESPOND_NS = 28_000  # masked and flooded
DECRYPT_NS = 15_000  # by the client
MAX_BLOCKS = 4094  # uploads of a tile: products that the kernels sum up
KNOWN = 4  # plans whose packings are kept: they are slow to find, and asked for in many places


@dataclass(frozen=True, slots=True)
class Packing:
    """The layout of one op. Heights and widths are in elements; kernel_h, kernel_w and channels are after polyphase."""

    input_shape: tuple[int, int, int]  # (C, H, W); a Linear op's is (C, 1, 1)
    kernel: tuple[int, int]  # as in the op
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    out_h: int
    out_w: int
    poly_degree: int
    kernel_h: int
    kernel_w: int
    channels: int  # C' = C * phases, channel-major
    outputs: int
    groups: int
    tiles_h: int
    tiles_w: int
    tile_h: int  # outputs; the last tile may be cut short
    tile_w: int
    block_channels: int  # C_w
    block_outputs: int  # M
    packed: int  # P

    @property
    def area_h(self) -> int:
        """Rows that one tile reads."""
        return self.tile_h + self.kernel_h - 1

    @property
    def area_w(self) -> int:
        """Columns that one tile reads."""
        return self.tile_w + self.kernel_w - 1

    @property
    def tiles(self) -> int:
        """Tiles per map."""
        return self.tiles_h * self.tiles_w

    @property
    def channel_blocks(self) -> int:
        """Uploads per tile."""
        return ceil(self.channels / self.block_channels)

    @property
    def output_blocks(self) -> int:
        """Sums of products per tile."""
        return ceil(self.outputs / self.block_outputs)

    @property
    def tile_responses(self) -> int:
        """Responses per tile."""
        return ceil(self.output_blocks / self.packed)

    @property
    def uploads(self) -> int:
        """Ciphertexts from the client per image, tile-major, then channel block."""
        return self.tiles * self.channel_blocks

    @property
    def responses(self) -> int:
        """Ciphertexts from the server per image, tile-major, then output block."""
        return self.tiles * self.tile_responses

    @property
    def sums(self) -> int:
        """Sums of products per image, each re-randomized."""
        return self.tiles * self.output_blocks

    @property
    def merges(self) -> int:
        """Ciphertexts merged into another per image."""
        return self.sums - self.responses

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels of the packing keys that the merges need: log2 of the power of two in C_w / 2, C_w / 4, ..."""
        spacings = (self.block_channels >> merge for merge in range(1, self.packed.bit_length()))
        return tuple((spacing & -spacing).bit_length() - 1 for spacing in spacings)

    @property
    def products(self) -> int:
        """Products of polynomials per image."""
        return self.tiles * sum(len(self.meeting(block)) for block in range(self.output_blocks))

    @property
    def useful(self) -> tuple[int, ...]:
        """Number of useful coefficients of each response, in order."""
        return tuple(
            len(self.response_outputs(index)) * len(self.rows(tile)) * len(self.columns(tile))
            for tile in range(self.tiles)
            for index in range(self.tile_responses)
        )

    def rows(self, tile: int) -> range:
        """Output rows of a tile, edge tiles cut short."""
        start = tile // self.tiles_w * self.tile_h
        return range(start, min(start + self.tile_h, self.out_h))

    def columns(self, tile: int) -> range:
        """Output columns of a tile, edge tiles cut short."""
        start = tile % self.tiles_w * self.tile_w
        return range(start, min(start + self.tile_w, self.out_w))

    def block(self, output_block: int) -> range:
        """Outputs of a block, the last cut short."""
        start = output_block * self.block_outputs
        return range(start, min(start + self.block_outputs, self.outputs))

    def response_outputs(self, index: int) -> range:
        """Outputs of a tile's response, the last cut short."""
        start = index * self.packed * self.block_outputs
        return range(start, min(start + self.packed * self.block_outputs, self.outputs))

    def meeting(self, output_block: int) -> range:
        """Channel blocks that share a group with an output block: only these have products."""
        outputs, depth = self.block(output_block), self.channels // self.groups
        first = outputs[0] * self.groups // self.outputs * depth
        last = (outputs[-1] * self.groups // self.outputs + 1) * depth - 1
        return range(first // self.block_channels, last // self.block_channels + 1)


@functools.lru_cache(KNOWN)
def packings(plan: Plan) -> Mapping[str, Packing]:
    """Return the packing of every Conv and Linear of a valid plan, by name."""
    found, parameters = shapes(plan), PARAMETER_SETS[plan.parameter_set]
    return MappingProxyType(
        {
            op.name: choose(op, found[op.inputs[0]], parameters, plan.ring.ring_bits, plan.link_rate)
            for op in plan.ops
            if isinstance(op, Conv | Linear)
        }
    )


def packing_levels(plan: Plan) -> list[int]:
    """Return the levels of all packing keys that a plan's responses need, in order."""
    return sorted({level for packing in packings(plan).values() for level in packing.levels})


def choose(
    op: Conv | Linear, in_shape: Shape, parameters: ParameterSet, ring_bits: int, link_rate: int = LINK_RATE
) -> Packing:
    """Return the packing that takes least over a link of so many bits per second; among equals the smallest P, C_w,
    tile_h, tile_w. Raises `PlanError` where there are too many channels for any.

    Tries every grid of tiles without empty ones, and with each every P, every C_w and the largest M that fits.
    """
    start = _polyphase(op, in_shape, parameters)
    least, ties = np.inf, list[Packing]()
    for tile_h in _tile_sides(start.out_h):
        for tile_w in _tile_sides(start.out_w):
            areas = parameters.poly_degree // ((tile_h + start.kernel_h - 1) * (tile_w + start.kernel_w - 1))
            blocks = _blocks(start, areas)
            if not len(blocks.channels):
                continue
            grid = replace(
                start,
                tiles_h=ceil(start.out_h / tile_h),
                tiles_w=ceil(start.out_w / tile_w),
                tile_h=tile_h,
                tile_w=tile_w,
            )
            costs = _cost(grid, blocks, parameters, ring_bits, link_rate)
            if costs.min() < least:
                least, ties = costs.min(), []
            for best in np.flatnonzero(costs == least):
                ties.append(
                    replace(
                        grid,
                        block_channels=int(blocks.channels[best]),
                        block_outputs=int(blocks.outputs[best]),
                        packed=int(blocks.packed[best]),
                    )
                )
    if not ties:  # the format's bound on kernels makes one output of one channel fit
        raise PlanError(
            f"{op.name}: {start.channels} channels, at most {MAX_BLOCKS} ciphertexts of them can be summed up",
            "reduce the operand",
        )
    return min(ties, key=lambda p: (p.packed, p.block_channels, p.tile_h, p.tile_w))


def upload_bytes(parameters: ParameterSet) -> int:
    """Return one ciphertext from the client: a seed for c1, all of c0."""
    return SEED_BYTES + parameters.poly_degree * parameters.primes * PRIME_BITS // 8


def response_bytes(packing: Packing, ring_bits: int) -> tuple[int, ...]:
    """Return each ciphertext from the server, in order: c1 switched down, the useful coefficients of c0."""
    mask = bits_to_bytes(packing.poly_degree * (ring_bits + RESPONSE_MASK_BITS))
    return tuple(mask + bits_to_bytes(useful * (ring_bits + RESPONSE_VALUE_BITS)) for useful in packing.useful)


def cached_ops(packed: Mapping[str, Packing], parameters: ParameterSet, max_bytes: int) -> set[str]:
    """Return the ops whose transformed weights fit into ``max_bytes`` together: first those that reuse them most."""
    found: set[str] = set()
    for name in sorted(packed, key=lambda name: -packed[name].tiles):
        size = transformed_bytes(packed[name], parameters)
        if size <= max_bytes:
            found.add(name)
            max_bytes -= size
    return found


def transformed_bytes(packing: Packing, parameters: ParameterSet) -> int:
    """Return the bytes of one op's transformed weights, at most."""
    return packing.channel_blocks * packing.output_blocks * parameters.primes * parameters.poly_degree * 8


def bits_to_bytes(bits: int) -> int:
    """Bytes that so many bits fill."""
    return -(-bits // 8)


def _polyphase(op: Conv | Linear, in_shape: Shape, parameters: ParameterSet) -> Packing:
    """Return the op as a convolution of stride 1, with one output per tile and per product."""
    if isinstance(op, Linear):
        op = Conv(op.name, op.inputs, op.out_features, (1, 1), (1, 1), (0, 0, 0, 0), 1, op.bias, op.weight_bits, 0)
        in_shape = (*in_shape, 1, 1)
    outputs, out_h, out_w = shape_of(op, [in_shape])
    (kernel_h, kernel_w), (stride_h, stride_w) = op.kernel, op.stride
    return Packing(
        input_shape=(in_shape[0], in_shape[1], in_shape[2]),
        kernel=op.kernel,
        stride=op.stride,
        padding=op.padding,
        out_h=out_h,
        out_w=out_w,
        poly_degree=parameters.poly_degree,
        kernel_h=ceil(kernel_h / stride_h),
        kernel_w=ceil(kernel_w / stride_w),
        channels=in_shape[0] * min(stride_h, kernel_h) * min(stride_w, kernel_w),
        outputs=outputs,
        groups=op.groups,
        tiles_h=out_h,
        tiles_w=out_w,
        tile_h=1,
        tile_w=1,
        block_channels=1,
        block_outputs=1,
        packed=1,
    )


def _tile_sides(outputs: int) -> list[int]:
    """Return every tile side that some number of equal tiles leads to."""
    return sorted({ceil(outputs / ceil(outputs / side)) for side in range(1, outputs + 1)})


class Blocks(NamedTuple):
    """Candidates for C_w, M and P, one after another."""

    channels: NDArray[np.int64]
    outputs: NDArray[np.int64]
    packed: NDArray[np.int64]


def _blocks(op: Packing, areas: int) -> Blocks:
    """Return every C_w for which M C_w <= ``areas`` has a solution, the largest such M, and every P that is of use.

    C_w may be more than there are channels, to be a multiple of P.
    """
    found = []
    for merges in range(min(areas, op.outputs).bit_length() + 1):
        packed = 1 << merges
        most = min(-(-op.channels // packed) * packed, areas)
        channels = np.arange(packed, most + 1, packed)
        outputs = np.minimum(op.outputs, areas // np.maximum(channels, 1))
        useful = (outputs * packed < 2 * op.outputs) | (packed == 1)  # less would pack as much
        useful &= -(-op.channels // channels) <= MAX_BLOCKS
        found.append(np.stack([channels, outputs, np.full_like(channels, packed)])[:, useful])
    return Blocks(*np.concatenate(found, axis=1))


def _cost(
    grid: Packing, blocks: Blocks, parameters: ParameterSet, ring_bits: int, link_rate: int
) -> NDArray[np.float64]:
    """Four times the longest of computing and sending of either party, and the sum of the four, in nanoseconds.

    In doubles, which do not overflow, and are the same on every machine: no operation of more than two operands.
    """
    byte = 8e9 / link_rate
    server, client = _computing(grid, blocks, parameters)
    up, down = byte * _upload_bytes(grid, blocks, parameters), byte * _response_bytes(grid, blocks, ring_bits)
    longest = np.maximum(np.maximum(server, client), np.maximum(up, down))
    total: NDArray[np.float64] = 4.0 * longest + (((server + client) + up) + down)
    return total


def _computing(
    grid: Packing, blocks: Blocks, parameters: ParameterSet
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nanoseconds of server and client per image; grouped convolutions have at most the products that are counted."""
    uploads = -(-grid.channels // blocks.channels)
    sums = -(-grid.outputs // blocks.outputs)
    responses = -(-sums // blocks.packed)
    meeting = uploads
    if grid.groups > 1:
        spanned = np.minimum(grid.groups, (blocks.outputs - 1) * grid.groups // grid.outputs + 2)
        meeting = np.minimum(uploads, spanned * (grid.channels // grid.groups) // blocks.channels + 2)
    size = grid.tiles * parameters.poly_degree * parameters.primes / (4096 * 2)
    # Of one tile less than 2^52: exact in a double.
    server: NDArray[np.int64] = RECEIVE_NS * uploads + PRODUCT_NS * sums * meeting + SUM_NS * sums
    server = server + MERGE_NS * (sums - responses) + RESPOND_NS * responses
    client: NDArray[np.int64] = ENCRYPT_NS * uploads + DECRYPT_NS * responses
    return size * server.astype(np.float64), size * client.astype(np.float64)


def _upload_bytes(grid: Packing, blocks: Blocks, parameters: ParameterSet) -> NDArray[np.int64]:
    """Bytes of all uploads per image for each candidate."""
    total: NDArray[np.int64] = grid.tiles * -(-grid.channels // blocks.channels) * upload_bytes(parameters)
    return total


def _response_bytes(grid: Packing, blocks: Blocks, ring_bits: int) -> NDArray[np.int64]:
    """Bytes of all responses per image for each candidate, without listing them.

    Responses come in at most eight sizes: full or last row of tiles, column of tiles and block of outputs.
    """
    response_outputs = blocks.outputs * blocks.packed
    full, last = np.divmod(grid.outputs - 1, response_outputs)
    size: NDArray[np.int64] = (
        grid.tiles * (full + 1) * bits_to_bytes(grid.poly_degree * (ring_bits + RESPONSE_MASK_BITS))
    )
    last_h, last_w = len(grid.rows(grid.tiles - 1)), len(grid.columns(grid.tiles - 1))
    for tile_h, rows_of_tiles in ((grid.tile_h, grid.tiles_h - 1), (last_h, 1)):
        for tile_w, columns_of_tiles in ((grid.tile_w, grid.tiles_w - 1), (last_w, 1)):
            bits = tile_h * tile_w * (ring_bits + RESPONSE_VALUE_BITS)
            values = full * -(-response_outputs * bits // 8) - (-(last + 1) * bits // 8)
            size += rows_of_tiles * columns_of_tiles * values
    return size
