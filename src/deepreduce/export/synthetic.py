"""Plans with random weights of trained range: what a network costs in private, before anyone has trained it."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingError
from ..lowering.ir import Array, Lowered
from ..lowering.lower import lower
from ..networks.source import ModelSource
from ..plan import LINK_RATE, Conv, FixedPoint, Linear, Plan
from ..plan.validation import MAX_WEIGHT_BITS
from ..reduce import reduce_to
from .merging.merge import merge_ops
from .quantization.quantize import Weights, quantize
from .quantization.rescales import with_rescales

# Degrees of freedom of Student's t: the largest of 600 to 5000 weights of a channel is then 4 to 6 standard deviations
# away, as in trained convolutions; normal weights would be larger against their largest.
TAILS = 8
BIAS_SHARE = 0.1  # of the spread that an accumulator has
IMAGE_SPREAD = 1.0  # images are normalized


def plan_of(
    network: str,
    point: str | None = None,
    *,
    ring_bits: int = 32,
    seed: int = 0,
    width: float = 1.0,
    classes: int = 100,
    image: int = 32,
    channels: int = 3,
    input_fraction: int = 8,
    activation_bits: int = 13,
    weight_bits: int = MAX_WEIGHT_BITS,
    calibration_images: int = 2,
    merge: bool = True,
    link_rate: int = LINK_RATE,
) -> tuple[Plan, Weights]:
    """Return a valid plan of ``network`` (a zoo name or ``file.py:factory``) reduced to ``point``, and random weights.

    Images have ``channels`` x ``image`` x ``image`` values, before the point's rho. Each output channel's weights have
    the largest magnitude that ``weight_bits`` hold (fewer for networks whose weights the server cannot hide at l <= 32:
    ResNet34, wide ones, 64x64 images); activations of the random images that calibrate the plan stay within
    2^activation_bits. ``merge`` moves padding to the front of linear segments and composes their ops; ``link_rate``
    (bits per second) is the link that it and the layout of ciphertexts are for. The same
    arguments give the same plan. Raises `ModelError`, `PointError`, `SettingError`, or `PlanError` where the ring is
    too small.
    """
    if seed < 0:
        raise SettingError(f"seed is {seed}, at least 0 is needed")
    if not 6 <= ring_bits <= 64:
        raise SettingError(
            f"a ring of {ring_bits} bits, from 6 to 64 are possible", "32 is usual, 41 for large networks"
        )
    if not 2 <= activation_bits <= ring_bits - 4:
        raise SettingError(
            f"{activation_bits} activation bits, from 2 to {ring_bits - 4} fit a ring of {ring_bits} bits",
            "13 is usual",
        )
    if not 2 <= weight_bits <= MAX_WEIGHT_BITS:
        raise SettingError(f"{weight_bits} weight bits, from 2 to {MAX_WEIGHT_BITS} are allowed")
    full = ModelSource(network, width).build((channels, image, image), classes)
    rng = np.random.default_rng(seed)
    lowered = with_random_weights(lower(reduce_to(full, point or "full", front_padding=merge)), rng)
    lowered = with_rescales(merge_ops(lowered, ring_bits=ring_bits, link_rate=link_rate) if merge else lowered)
    images = random_images(lowered.input_shape, rng, calibration_images)
    plan, weights = quantize(lowered, images, FixedPoint(ring_bits, input_fraction), activation_bits, weight_bits)
    return replace(plan, link_rate=link_rate), weights


def with_random_weights(lowered: Lowered, rng: np.random.Generator) -> Lowered:
    """Return the same ops with real weights under which values keep their size, and biases that are small against the
    sums.
    """
    weights: dict[str, tuple[Array, Array]] = {}
    for op in lowered.ops:
        if isinstance(op, Conv | Linear):
            shape = lowered.weights[op.name][0].shape
            spread = np.sqrt(2 / prod(shape[1:]))  # half of what is summed up is zero, behind a ReLU
            weight = spread * rng.standard_t(TAILS, shape)
            bias: Array = (BIAS_SHARE * op.bias) * np.asarray(rng.standard_normal(shape[0]))
            weights[op.name] = weight, bias
    return replace(lowered, weights=weights)


def random_images(shape: tuple[int, int, int], rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Normalized images [count, C, H, W] in real numbers, cut off at three standard deviations."""
    return np.clip(IMAGE_SPREAD * rng.standard_normal((count, *shape)), -3, 3)
