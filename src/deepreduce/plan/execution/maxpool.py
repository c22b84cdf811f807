"""MaxPool as a tournament: which elements meet, level by level, so that both parties pair the same ones.

Each output starts with the valid elements of its window in row-major order. At each level neighbors are paired,
(0, 1), (2, 3), ..., the winner of a pair is ``a + relu(b - a)``, and an odd last element passes on. All pairs of one
level, output after output, form one vector of ReLUs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..schema import MaxPool
from ..shapes import Shape, shape_of

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Level:
    """One level: ``next = now[stays]; next[winners] += relu(now[right] - now[left])``, with left = stays[winners]."""

    left: Indices  # [pairs] positions in the present list
    right: Indices  # [pairs]
    stays: Indices  # [next list] positions in the present list
    winners: Indices  # [pairs] positions in the next list


@dataclass(frozen=True, slots=True)
class Tournament:
    """``start`` picks the first list out of one image's flattened (C, H, W); the last list is the flattened output."""

    start: Indices
    levels: tuple[Level, ...]


def tournament(op: MaxPool, in_shape: Shape) -> Tournament:
    """Return the tournament of one image of ``in_shape`` (C, H, W)."""
    start, counts = _windows(op, in_shape)
    levels = []
    while counts.max() > 1:
        nexts = (counts + 1) // 2
        owner = np.repeat(np.arange(len(counts)), nexts)
        place = np.arange(len(owner)) - _offsets(nexts)[owner]  # of each survivor within its output
        stays = _offsets(counts)[owner] + 2 * place
        winners = np.flatnonzero(2 * place + 1 < counts[owner])
        left = stays[winners]
        levels.append(Level(left, left + 1, stays, winners))
        counts = nexts
    return Tournament(start, tuple(levels))


def pairs_per_level(op: MaxPool, in_shape: Shape) -> list[int]:
    """ReLUs of each level for one image; empty when every window has a single valid element."""
    rows, columns = _sides(op, in_shape)
    counts = np.outer(rows.sum(axis=1), columns.sum(axis=1))
    pairs = []
    while counts.max() > 1:
        pairs.append(in_shape[0] * int((counts // 2).sum()))
        counts = (counts + 1) // 2
    return pairs


def _windows(op: MaxPool, in_shape: Shape) -> tuple[Indices, Indices]:
    """Valid elements of all windows, one after another [n], and how many each output has [outputs]."""
    channels, height, width = in_shape
    rows, columns = _sides(op, in_shape)
    valid = rows[:, None, :, None] & columns[None, :, None, :]  # [out_h, out_w, kernel_h, kernel_w]
    row, column, down, across = np.nonzero(valid)
    one = (row * op.stride[0] + down - op.padding[0]) * width + column * op.stride[1] + across - op.padding[2]
    start = (np.arange(channels)[:, None] * (height * width) + one).ravel()
    return start, np.tile(valid.sum(axis=(2, 3)).ravel(), channels)


def _sides(op: MaxPool, in_shape: Shape) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Validity factorizes: rows [out_h, kernel_h] and columns [out_w, kernel_w]."""
    _, height, width = in_shape
    _, out_height, out_width = shape_of(op, [in_shape])
    return (
        _valid(out_height, op.stride[0], op.kernel[0], op.padding[0], height),
        _valid(out_width, op.stride[1], op.kernel[1], op.padding[2], width),
    )


def _valid(outputs: int, stride: int, kernel: int, before: int, size: int) -> NDArray[np.bool_]:
    """[outputs, kernel]: whether that element of that window lies on the map rather than in the padding."""
    position = np.arange(outputs)[:, None] * stride + np.arange(kernel) - before
    return (position >= 0) & (position < size)


def _offsets(counts: Indices) -> Indices:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)[:-1]])
