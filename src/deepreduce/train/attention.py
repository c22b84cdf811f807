"""Attention maps: where a network looks, matched between student and teacher (Zagoruyko and Komodakis 2016a)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def attention_map(activation: Tensor) -> Tensor:
    """Return the mean over channels of the squared activation: [n, c, h, w] -> float32 [n, h, w]."""
    return activation.float().square().mean(1)


def attention_distance(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Return the attention distance of two networks, from their activations [n, c, h, w] at the end of each stage: a
    scalar.

    Each map is flattened and divided by its L2 norm; the distance of a stage is the squared difference averaged over
    images and pixels, as in the authors' code, whose weight for it is 1000; stages are summed. Where the sides of two
    maps differ (a student of lower resolution) both are averaged to the smaller of each side first. Where one network
    has more stages the last ones are compared.
    """
    pairs = zip(reversed(student), reversed(teacher), strict=False)
    return torch.stack([_distance(attention_map(ours), attention_map(theirs)) for ours, theirs in pairs]).sum()


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    sides = (min(ours.shape[1], theirs.shape[1]), min(ours.shape[2], theirs.shape[2]))
    return F.mse_loss(_flat(ours, sides), _flat(theirs, sides))


def _flat(maps: Tensor, sides: tuple[int, int]) -> Tensor:
    if maps.shape[1:] != sides:
        maps = F.adaptive_avg_pool2d(maps, sides)
    return F.normalize(maps.flatten(1))
