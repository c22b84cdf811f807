"""Packing of a linear op into products of polynomials: an AGREEMENT that both parties compute from the plan.

Coefficient encoding in Z_q[X]/(X^N + 1) (Huang et al., "Cheetah", USENIX Security 2022, section 3), with strides by
polyphase and maps cut into tiles. After polyphase an op is a plain convolution of stride 1 without padding: C' channels
of (H_o + k_h - 1) x (W_o + k_w - 1) to O channels of H_o x W_o. Each tile of T_h x T_w outputs reads an area of
A = A_h * A_w = (T_h + k_h - 1)(T_w + k_w - 1); a polynomial holds the areas of C_w channels, a product M outputs:

    upload       sum over c, i, k     of x[c, i, k]    X^(c A + i A_w + k)
    weights      sum over m, c, u, v  of w[m, c, u, v] X^(m C_w A + (C_w - 1 - c) A + (k_h - 1 - u) A_w + k_w - 1 - v)
    response     y[m, i, k] is the coefficient of      X^(m C_w A + (C_w - 1) A + (i + k_h - 1) A_w + k + k_w - 1)

As M C_w A <= N, what wraps around X^N = -1 lands below the first coefficient that is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ..schema import PARAMETER_SETS, PRIME_BITS, Conv, Linear, ParameterSet, Plan
from ..shapes import Shape, shape_of, shapes

SEED_BYTES = 16
RESPONSE_MASK_BITS = 11  # beyond the ring, of c1 after switching down
RESPONSE_VALUE_BITS = 6  # beyond the ring, of each useful coefficient of c0


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
        """Responses per tile."""
        return ceil(self.outputs / self.block_outputs)

    @property
    def uploads(self) -> int:
        """Ciphertexts from the client per image, tile-major, then channel block."""
        return self.tiles * self.channel_blocks

    @property
    def responses(self) -> int:
        """Ciphertexts from the server per image, tile-major, then output block."""
        return self.tiles * self.output_blocks

    @property
    def products(self) -> int:
        """Products of polynomials per image."""
        return self.tiles * sum(len(self.meeting(block)) for block in range(self.output_blocks))

    @property
    def useful(self) -> tuple[int, ...]:
        """Number of useful coefficients of each response, in order."""
        return tuple(
            len(self.block(block)) * len(self.rows(tile)) * len(self.columns(tile))
            for tile in range(self.tiles)
            for block in range(self.output_blocks)
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

    def meeting(self, output_block: int) -> range:
        """Channel blocks that share a group with an output block: only these have products."""
        outputs, depth = self.block(output_block), self.channels // self.groups
        first = outputs[0] * self.groups // self.outputs * depth
        last = (outputs[-1] * self.groups // self.outputs + 1) * depth - 1
        return range(first // self.block_channels, last // self.block_channels + 1)


def packings(plan: Plan) -> dict[str, Packing]:
    """Return the packing of every Conv and Linear of a valid plan, by name."""
    found, parameters = shapes(plan), PARAMETER_SETS[plan.parameter_set]
    return {
        op.name: choose(op, found[op.inputs[0]], parameters, plan.ring.ring_bits)
        for op in plan.ops
        if isinstance(op, Conv | Linear)
    }


def choose(op: Conv | Linear, in_shape: Shape, parameters: ParameterSet, ring_bits: int) -> Packing:
    """Return the packing of fewest ciphertext bytes; among equals of fewest products, then smallest C_w, tile_h,
    tile_w.

    Tries every grid of tiles without empty ones, and with each every C_w and the largest M that fits.
    """
    start = _polyphase(op, in_shape, parameters)
    fewest, ties = np.iinfo(np.int64).max, list[Packing]()
    for tile_h in _tile_sides(start.out_h):
        for tile_w in _tile_sides(start.out_w):
            grid = replace(
                start,
                tiles_h=ceil(start.out_h / tile_h),
                tiles_w=ceil(start.out_w / tile_w),
                tile_h=tile_h,
                tile_w=tile_w,
            )
            block_channels, block_outputs = _blocks(grid)
            if not len(block_channels):
                continue
            sizes = _ciphertext_bytes(grid, block_channels, block_outputs, parameters, ring_bits)
            if sizes.min() < fewest:
                fewest, ties = sizes.min(), []
            for best in np.flatnonzero(sizes == fewest):
                c, m = int(block_channels[best]), int(block_outputs[best])
                ties.append(replace(grid, block_channels=c, block_outputs=m))
    # The format's bound on kernels makes a tile of one output fit, so there is a best one.
    return min(ties, key=lambda p: (p.products, p.block_channels, p.tile_h, p.tile_w))


def upload_bytes(parameters: ParameterSet) -> int:
    """Return one ciphertext from the client: a seed for c1, all of c0."""
    return SEED_BYTES + parameters.poly_degree * parameters.primes * PRIME_BITS // 8


def response_bytes(packing: Packing, ring_bits: int) -> tuple[int, ...]:
    """Return each ciphertext from the server, in order: c1 switched down, the useful coefficients of c0."""
    mask = bits_to_bytes(packing.poly_degree * (ring_bits + RESPONSE_MASK_BITS))
    return tuple(mask + bits_to_bytes(useful * (ring_bits + RESPONSE_VALUE_BITS)) for useful in packing.useful)


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
    )


def _tile_sides(outputs: int) -> list[int]:
    """Return every tile side that some number of equal tiles leads to."""
    return sorted({ceil(outputs / ceil(outputs / side)) for side in range(1, outputs + 1)})


def _blocks(grid: Packing) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every C_w for which M C_w A <= N has a solution, with the largest such M."""
    areas = grid.poly_degree // (grid.area_h * grid.area_w)
    block_channels = np.arange(1, min(grid.channels, areas) + 1)
    return block_channels, np.minimum(grid.outputs, areas // block_channels)


def _ciphertext_bytes(
    grid: Packing,
    block_channels: NDArray[np.int64],
    block_outputs: NDArray[np.int64],
    parameters: ParameterSet,
    ring_bits: int,
) -> NDArray[np.int64]:
    """Bytes of all uploads and responses per image for each pair of block sizes, without listing the responses.

    Responses come in at most eight sizes: full or last row of tiles, column of tiles and block of outputs.
    """
    full_blocks, last_block = np.divmod(grid.outputs - 1, block_outputs)
    mask = bits_to_bytes(grid.poly_degree * (ring_bits + RESPONSE_MASK_BITS))
    size: NDArray[np.int64] = grid.tiles * (
        -(-grid.channels // block_channels) * upload_bytes(parameters) + (full_blocks + 1) * mask
    )
    last_h, last_w = len(grid.rows(grid.tiles - 1)), len(grid.columns(grid.tiles - 1))
    for tile_h, rows_of_tiles in ((grid.tile_h, grid.tiles_h - 1), (last_h, 1)):
        for tile_w, columns_of_tiles in ((grid.tile_w, grid.tiles_w - 1), (last_w, 1)):
            bits = tile_h * tile_w * (ring_bits + RESPONSE_VALUE_BITS)
            blocks = full_blocks * -(-block_outputs * bits // 8) - (-(last_block + 1) * bits // 8)
            size += rows_of_tiles * columns_of_tiles * blocks
    return size
