"""Intermediate representation: a plan's ops without numbers and real weights, for merging and quantization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..plan import Conv, Linear, Op

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Lowered:
    """Ops in topological order on an image of ``input_shape`` (C, H, W); shifts, windows, peaks and fractions are 0.

    ``weights`` holds the real weights and biases by op: [O, C/groups, kh, kw] or [F, C], and [O] or [F].
    """

    input_shape: tuple[int, int, int]
    ops: tuple[Op, ...]
    weights: dict[str, tuple[Array, Array]]


def convs(lowered: Lowered) -> int:
    """Return how many linear ops with weights (Conv and Linear) there are: the paper's #Conv."""
    return sum(isinstance(op, Conv | Linear) for op in lowered.ops)
