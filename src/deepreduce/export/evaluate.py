"""Accuracy of a plan: pictures through the client's preprocessing and exact integers, as a private run computes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..plan import Plan, encode_input, normalized
from ..plan.reference import answers
from ..progress import Progress

BATCH = 16  # images whose tensors are held at once, per thread


def predictions(
    plan: Plan,
    weights: Mapping[str, NDArray[Any]],
    pixels: NDArray[np.uint8],
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """Return the answers' integers [n, classes] to pictures uint8 [n, C, H, W], on as many threads as torch uses."""

    def of(first: int) -> NDArray[np.int64]:
        images = normalized(plan, pixels[first : first + BATCH])
        return answers(plan, weights, encode_input(plan, images))

    found = []
    with _single_blas(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for answer in pool.map(of, range(0, len(pixels), BATCH)):
            found.append(answer)
            if progress:
                progress("evaluate the plan", min(len(found) * BATCH, len(pixels)), len(pixels))
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


@contextlib.contextmanager
def _single_blas() -> Iterator[None]:
    """Matrix products on one thread each, where that can be had: batches in parallel leave nothing idle in between."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield
