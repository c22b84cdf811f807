"""The coefficients that packing.py lays out, put in and taken out: the definition that fast code must meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .packing import Packing


def pack_input(packing: Packing, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return one image's operand (C, H, W), or (C,) of a Linear, as upload polynomials [uploads, N]."""
    height, width = packing.tiles_h * packing.tile_h, packing.tiles_w * packing.tile_w
    phases = _phase_maps(packing, x, height + packing.kernel_h - 1, width + packing.kernel_w - 1)
    area = packing.area_h * packing.area_w
    polynomials = np.zeros((packing.tiles, packing.channel_blocks, packing.poly_degree), dtype=np.uint64)
    for tile in range(packing.tiles):
        top, left = packing.rows(tile).start, packing.columns(tile).start
        seen = phases[:, top : top + packing.area_h, left : left + packing.area_w].reshape(-1)
        for block in range(packing.channel_blocks):
            part = seen[block * packing.block_channels * area : (block + 1) * packing.block_channels * area]
            polynomials[tile, block, : len(part)] = part
    return polynomials.reshape(packing.uploads, packing.poly_degree)


def pack_weights(packing: Packing, weight: NDArray[np.int16]) -> NDArray[np.int16]:
    """Weights [O, C/groups, kh, kw] or [F, C] in polyphase order, [O, C'/groups, kernel_h, kernel_w]."""
    outputs = packing.outputs
    depth = packing.input_shape[0] // packing.groups
    given = weight.reshape(outputs, depth, *packing.kernel)
    phases_h, phases_w = _phases(packing)
    stride_h, stride_w = packing.stride
    packed = np.zeros((outputs, depth, phases_h, phases_w, packing.kernel_h, packing.kernel_w), dtype=np.int16)
    for a in range(phases_h):
        for b in range(phases_w):
            part = given[:, :, a::stride_h, b::stride_w]
            packed[:, :, a, b, : part.shape[2], : part.shape[3]] = part
    return packed.reshape(outputs, depth * phases_h * phases_w, packing.kernel_h, packing.kernel_w)


def weight_polynomial(
    packing: Packing, packed: NDArray[np.int16], output_block: int, channel_block: int
) -> NDArray[np.int16]:
    """Return one weight polynomial [N] out of `pack_weights`, slowly: the definition that fast code is tested
    against.
    """
    polynomial = np.zeros(packing.poly_degree, dtype=np.int16)
    area, depth = packing.area_h * packing.area_w, packing.channels // packing.groups
    first = channel_block * packing.block_channels
    for m, output in enumerate(packing.block(output_block)):
        group = output * packing.groups // packing.outputs
        for c in range(min(packing.block_channels, packing.channels - first)):
            if (first + c) // depth != group:
                continue
            kernel = packed[output, (first + c) % depth][::-1, ::-1]
            start = (m * packing.block_channels + packing.block_channels - 1 - c) * area
            for row in range(packing.kernel_h):
                at = start + row * packing.area_w
                polynomial[at : at + packing.kernel_w] = kernel[row]
    return polynomial


def useful_positions(packing: Packing, response: int) -> NDArray[np.int32]:
    """Return the coefficients that a response carries, in the order they are sent: output, then row, then column."""
    tile, output_block = divmod(response, packing.output_blocks)
    m = np.arange(len(packing.block(output_block)))[:, None, None]
    i = np.arange(len(packing.rows(tile)))[:, None] + packing.kernel_h - 1
    k = np.arange(len(packing.columns(tile))) + packing.kernel_w - 1
    area = packing.area_h * packing.area_w
    block = (m * packing.block_channels + packing.block_channels - 1) * area
    return (block + i * packing.area_w + k).ravel().astype(np.int32)


def unpack_output(packing: Packing, values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the op's output [O, H_o, W_o] from each response's useful values, in order."""
    output = np.zeros((packing.outputs, packing.out_h, packing.out_w), dtype=values[0].dtype)
    for response, carried in enumerate(values):
        tile, output_block = divmod(response, packing.output_blocks)
        block, rows, columns = packing.block(output_block), packing.rows(tile), packing.columns(tile)
        shape = len(block), len(rows), len(columns)
        output[block.start : block.stop, rows.start : rows.stop, columns.start : columns.stop] = carried.reshape(shape)
    return output


def _phases(packing: Packing) -> tuple[int, int]:
    return min(packing.stride[0], packing.kernel[0]), min(packing.stride[1], packing.kernel[1])


def _phase_maps(packing: Packing, x: NDArray[np.uint64], height: int, width: int) -> NDArray[np.uint64]:
    """Return the operand's phases [C', height, width], zeros beyond the padded map."""
    top, bottom, left, right = packing.padding
    padded = np.pad(x.reshape(packing.input_shape), ((0, 0), (top, bottom), (left, right)))
    phases_h, phases_w = _phases(packing)
    maps = np.zeros((packing.input_shape[0], phases_h, phases_w, height, width), dtype=np.uint64)
    for a in range(phases_h):
        for b in range(phases_w):
            part = padded[:, a :: packing.stride[0], b :: packing.stride[1]][:, :height, :width]
            maps[:, a, b, : part.shape[1], : part.shape[2]] = part
    return maps.reshape(packing.channels, height, width)
