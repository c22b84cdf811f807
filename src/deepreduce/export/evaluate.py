"""Accuracy of a plan: pictures through the client's preprocessing and exact integers, as a private run computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plan import Plan, encode_input, normalised
from ..plan.reference import answers

Progress = Callable[[str, int, int], None]
BATCH = 32


def predictions(
    plan: Plan,
    weights: Mapping[str, NDArray[Any]],
    pixels: NDArray[np.uint8],
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """The answers' integers [n, classes] to pictures uint8 [n, C, H, W]."""
    found = []
    for first in range(0, len(pixels), BATCH):
        if progress:
            progress("evaluate the plan", first, len(pixels))
        part = pixels[first : first + BATCH]
        found.append(answers(plan, weights, encode_input(plan, normalised(plan, part))))
    return np.concatenate(found)


def accuracy(
    plan: Plan,
    weights: Mapping[str, NDArray[Any]],
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    progress: Progress | None = None,
) -> float:
    """Top-1 accuracy in percent of a plan that takes pictures; of equal answers the first counts."""
    chosen = predictions(plan, weights, pixels, progress).argmax(axis=1)
    return 100 * float((chosen == labels).mean())
