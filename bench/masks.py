"""ReLUs removed from a network in three ways: whole layers, whole channels, elements at random. All else is equal."""

from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from deepreduce.export import quantize, random_images, with_random_weights, with_rescales
from deepreduce.lowering import Lowered, lower
from deepreduce.networks import ModelSource
from deepreduce.plan import INPUT, FixedPoint, Op, Relu, Rescale, pack_kept, shape_of, write_plan, write_weights

WAYS = ("layers", "channels", "elements")
RING = FixedPoint(32, 8)
Masks = dict[str, np.ndarray]  # by ReLU: which elements are kept [C, H, W]


def network(name: str, width: float, image: int, classes: int) -> Lowered:
    """The ops of a full network, unmerged, with random weights."""
    lowered = lower(ModelSource(name, width).build((3, image, image), classes))
    return with_rescales(with_random_weights(lowered, np.random.default_rng(0)))


def relu_shapes(lowered: Lowered) -> dict[str, tuple[int, int, int]]:
    """[C, H, W] of every ReLU."""
    shapes = {INPUT: lowered.input_shape}
    for op in lowered.ops:
        shapes[op.name] = shape_of(op, [shapes[name] for name in op.inputs])
    return {op.name: shapes[op.name] for op in lowered.ops if isinstance(op, Relu)}


def layer_masks(shapes: dict[str, tuple[int, int, int]], count: int) -> Masks:
    """Whole layers, the largest first, with ``count`` elements together or as near below as that leads."""
    kept, left = set(), count
    for name in sorted(shapes, key=lambda name: -prod(shapes[name])):
        if prod(shapes[name]) <= left:
            kept.add(name)
            left -= prod(shapes[name])
    return {name: np.full(shape, name in kept) for name, shape in shapes.items()}


def channel_masks(shapes: dict[str, tuple[int, int, int]], count: int, rng: np.random.Generator) -> Masks:
    """Whole channels at random, nearly the same part of every layer: rounding is made up for in the next layers."""
    share, masks, owed = count / sum(map(prod, shapes.values())), Masks(), 0.0
    for name, (channels, height, width) in shapes.items():
        owed += share * channels * height * width
        keep = int(np.clip(round(owed / (height * width)), 0, channels))
        owed -= keep * height * width
        chosen = np.zeros(channels, dtype=bool)
        chosen[rng.permutation(channels)[:keep]] = True
        masks[name] = np.broadcast_to(chosen[:, None, None], (channels, height, width))
    return masks


def element_masks(shapes: dict[str, tuple[int, int, int]], count: int, rng: np.random.Generator) -> Masks:
    """Exactly ``count`` elements at random, of the whole network."""
    sizes = [prod(shape) for shape in shapes.values()]
    flat = np.zeros(sum(sizes), dtype=bool)
    flat[rng.permutation(len(flat))[:count]] = True
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def masks_of(way: str, shapes: dict[str, tuple[int, int, int]], count: int) -> Masks:
    """About ``count`` elements kept in one of `WAYS`; the same each time."""
    rng = np.random.default_rng(count)
    match way:
        case "layers":
            return layer_masks(shapes, count)
        case "channels":
            return channel_masks(shapes, count, rng)
        case _:
            return element_masks(shapes, count, rng)


def masked(lowered: Lowered, masks: Masks) -> Lowered:
    """The network with those elements kept. A layer without any becomes a Rescale: removed, and not merged."""
    return replace(lowered, ops=tuple(_masked(op, masks) for op in lowered.ops))


def _masked(op: Op, masks: Masks) -> Op:
    if not isinstance(op, Relu) or masks[op.name].all():
        return op
    if not masks[op.name].any():
        return Rescale(op.name, op.inputs, 0, 0)
    return replace(op, kept=pack_kept(masks[op.name]))


def write_masked(folder: Path, lowered: Lowered, masks: Masks) -> None:
    """Its plan and weights, the ranges chosen for the network without those ReLUs."""
    images = random_images(lowered.input_shape, np.random.default_rng(1), 2)
    plan, weights = quantize(masked(lowered, masks), images, RING)
    write_plan(folder / "plan.json", plan)
    write_weights(folder / "weights.safetensors", plan, weights)
