"""The coefficients that packing.py lays out, put in and taken out: the definition that fast code must meet."""

from __future__ import annotations

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
        seen = phases[:, top : top + packing.area_h, left : left + packing.area_w].reshape(packing.channels, area)
        for block in range(packing.channel_blocks):
            part = seen[block * packing.block_channels : (block + 1) * packing.block_channels]
            into = polynomials[tile, block, : packing.block_channels * area].reshape(area, packing.block_channels)
            into[:, : len(part)] = part.T
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
) -> NDArray[np.int32]:
    """Return one weight polynomial [N] out of `pack_weights`, slowly: the definition that fast code is tested
    against.
    """
    polynomial = np.zeros(packing.poly_degree, dtype=np.int32)
    area, depth = packing.area_h * packing.area_w, packing.channels // packing.groups
    first = channel_block * packing.block_channels
    for m, output in enumerate(packing.block(output_block)):
        group = output * packing.groups // packing.outputs
        for c in range(min(packing.block_channels, packing.channels - first)):
            if (first + c) // depth != group:
                continue
            kernel = packed[output, (first + c) % depth][::-1, ::-1]
            for row, column in np.ndindex(kernel.shape):
                at = packing.block_channels * (m * area + row * packing.area_w + column) - c
                # X^-1 is -X^(N - 1).
                polynomial[at] = kernel[row, column] if at >= 0 else -int(kernel[row, column])
    return polynomial


def noise_norm(packing: Packing, weight: NDArray[np.int16]) -> float:
    """Return an op's part of B, the budget of the flood (docs/reference/protocol.md, "Linear ops"): over the outputs of
    one image, the squared norm of the weights of their block. The errors of an upload are on all coefficients, so every
    output of a product has the noise of all weights in it.
    """
    squares = (weight.reshape(len(weight), -1).astype(np.float64) ** 2).sum(axis=1)
    blocks = [squares[first : first + packing.block_outputs] for first in range(0, len(squares), packing.block_outputs)]
    return float(sum(len(block) * block.sum() for block in blocks)) * packing.out_h * packing.out_w


def useful_coefficients(packing: Packing, response: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the coefficients that a response carries, rising, and the place of each in the op's flattened output
    [O, H_o, W_o].
    """
    tile, index = divmod(response, packing.tile_responses)
    outputs, rows, columns = packing.response_outputs(index), packing.rows(tile), packing.columns(tile)
    product, m = np.divmod(np.arange(len(outputs)), packing.block_outputs)
    i = np.arange(len(rows))[:, None] + packing.kernel_h - 1
    k = np.arange(len(columns)) + packing.kernel_w - 1
    moved = product * (packing.block_channels // packing.packed)
    area = packing.area_h * packing.area_w
    positions = packing.block_channels * (m[:, None, None] * area + i * packing.area_w + k) + moved[:, None, None]
    places = np.array(outputs)[:, None, None] * packing.out_h + np.array(rows)[:, None]
    places = places * packing.out_w + np.array(columns)
    order = np.argsort(positions, axis=None)
    return positions.ravel()[order].astype(np.int32), places.ravel()[order]


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
