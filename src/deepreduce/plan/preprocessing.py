"""Preprocessing from a picture's bytes to the network's input, the same for the client and an evaluation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .schema import PICTURE_BITS, Pictures, Plan


def normalized(plan: Plan, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Pictures uint8 [B, C, H, W] as real inputs [B, C, h, w] of the plan. Raises `PlanError` when they do not fit."""
    pictures = plan.pictures
    if pictures is None:
        raise PlanError("the plan does not say how pictures become its input", "export it again, with the data's name")
    return normalized_by(pictures, plan.input_shape, pixels)


def normalized_by(
    pictures: Pictures, input_shape: tuple[int, int, int], pixels: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return the same for a plan that is yet to be made, with inputs of ``input_shape`` (C, h, w)."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != pictures.shape:
        raise PlanError(f"the pictures are {pixels.dtype} {pixels.shape}, uint8 (batch, {pictures.shape}) is needed")
    mean, std = (
        np.ldexp(np.array(values, np.float64), -PICTURE_BITS)[:, None, None] for values in (pictures.mean, pictures.std)
    )
    return averaged((pixels / 255.0 - mean) / std, input_shape[1], input_shape[2])


def averaged(images: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Average each output pixel over the input pixels that its area touches, as adaptive average pooling does."""
    for axis, size in ((2, height), (3, width)):
        if images.shape[axis] != size:
            side = images.shape[axis]
            bounds = [(i * side // size, -(-(i + 1) * side // size)) for i in range(size)]
            parts = [images.take(range(low, high), axis).mean(axis) for low, high in bounds]
            images = np.stack(parts, axis)
    return images


def pictures_of(
    shape: tuple[int, int, int], mean: tuple[float, ...], std: tuple[float, ...], classes: tuple[str, ...] = ()
) -> Pictures:
    """`Pictures` from statistics on the 0..1 scale."""
    mean_scaled, std_scaled = (tuple(round(value * 2**PICTURE_BITS) for value in values) for values in (mean, std))
    return Pictures(shape, mean_scaled, std_scaled, classes)
