"""A data set with smaller images: each pixel the mean of a block of the original's."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import DataError
from .dataset import Dataset, Split, assemble


def averaged(dataset: Dataset, size: tuple[int, int]) -> Dataset:
    """``dataset`` with images of ``size`` (height, width), each pixel the rounded mean of its block.

    Raises `DataError` unless both sides are whole fractions of the images' own.
    """
    _, height, width = dataset.input_shape
    if height % size[0] or width % size[1]:
        raise DataError(
            f"{dataset.name}: images of {height}x{width} cannot be averaged to {size[0]}x{size[1]}",
            f"give a whole fraction of their sides, such as {height // 2}x{width // 2}",
        )
    block = height // size[0], width // size[1]
    notice = f"{dataset.name}: images averaged from {height}x{width} to {size[0]}x{size[1]}"
    return assemble(
        dataset.name,
        dataset.classes,
        _averaged(dataset.train, block),
        _averaged(dataset.validation, block),
        _averaged(dataset.test, block),
        (*dataset.notices, notice),
    )


def _averaged(split: Split, block: tuple[int, int]) -> Split:
    parts = [F.avg_pool2d(images.float(), block).round().to(torch.uint8) for images in torch.split(split.images, 4096)]
    return Split(torch.cat(parts), split.labels)
