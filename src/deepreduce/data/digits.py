"""The embedded default data set: handwritten digits among fragments of other digits, with nothing to download.

The 1,797 digits of scikit-learn (8x8 pixels, values 0..16; E. Alpaydin and C. Kaynak, UCI Optical Recognition of
Handwritten Digits, 1998) are too easy as they are: a linear classifier reads 96 % of them, so a network would lose
nothing with its last ReLU and there would be no frontier to find. Here each digit is turned, scaled and shifted on a
larger canvas and fragments of other digits crowd the border: a linear classifier, which weighs each pixel by where it
is, reads 16 % of these, a narrow convolutional network 95 %.

Every original belongs to one split, and so do the fragments cut from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import MissingPackageError
from .dataset import Dataset, Split, assemble, hold_out

CLASSES = tuple("0123456789")
SIDE = 32
_CANVASES_AT_ONCE = 500  # keeps the sampling grids of a batch within some 20 MB


@dataclass(frozen=True)
class DigitsConfig:
    """Number and difficulty of the canvases: lengths in canvas pixels, brightness on the 0..1 scale.

    A pair is the range from which a value is drawn, uniformly, for each digit and each fragment.
    """

    seed: int = 1998
    train_images: int = 5000
    validation_images: int = 1000
    test_images: int = 1000
    test_share: float = 0.15  # of the originals of each class
    rotation_degrees: tuple[float, float] = (-45.0, 45.0)
    side: tuple[float, float] = (15.0, 23.0)  # of the square onto which the 8x8 original is stretched
    shift: float = 7.0  # largest distance of the digit from the center, along each axis
    contrast: tuple[float, float] = (0.6, 1.0)
    fragments: int = 5
    fragment_distance: tuple[float, float] = (16.0, 20.0)  # from the center, along one axis: the border crops them
    fragment_contrast: tuple[float, float] = (0.3, 0.85)  # fainter than the digit to be read
    margin: float = 0.12  # kept free below black and above white: the noise needs room on both sides
    noise: float = 0.06  # standard deviation


DEFAULT = DigitsConfig()


@dataclass(frozen=True)
class CanvasLayout:
    """Which originals lie where on n canvases: column 0 is the digit to be read, the others are its fragments.

    ``sources`` (int64 [n, 1 + fragments]) indexes `originals`; ``theta`` (float [n, 1 + fragments, 2, 3]) takes canvas
    to original coordinates, as `torch.nn.functional.affine_grid` wants it; ``contrast`` is float [n, 1 + fragments].
    """

    sources: Tensor
    theta: Tensor
    contrast: Tensor


def load_digits(seed: int = 0, validation: float = 0.1, config: DigitsConfig = DEFAULT) -> Dataset:
    """Return the digits data set: images of 1 x 32 x 32, ten classes, about a second to draw.

    ``seed`` and ``validation`` (a share of the originals outside the test split) decide which originals validate; the
    test split depends on ``config`` alone. Raises `MissingPackageError` without scikit-learn.
    """
    images, labels = originals()
    parts = split_originals(labels, seed, validation, config)
    sizes = {"train": config.train_images, "validation": config.validation_images, "test": config.test_images}
    splits = {}
    for stream, (name, members) in enumerate(parts.items()):
        generator = torch.Generator().manual_seed(config.seed + stream)
        layout = lay_out(members, sizes[name], config, generator)
        splits[name] = Split(draw(layout, images, config, generator), labels[layout.sources[:, 0]])
    return assemble("digits", CLASSES, splits["train"], splits["validation"], splits["test"])


def originals() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: brightness 0..1 (float [1797, 1, 8, 8]) and labels (int64 [1797])."""
    try:
        from sklearn.datasets import load_digits as load_originals
    except ImportError as error:
        raise MissingPackageError("the digits need scikit-learn", "pip install 'deepreduce[search]'") from error
    bunch = load_originals()
    return torch.from_numpy(bunch.images).float().div(16).unsqueeze(1), torch.from_numpy(bunch.target).long()


def split_originals(
    labels: Tensor, seed: int = 0, validation: float = 0.1, config: DigitsConfig = DEFAULT
) -> dict[str, Tensor]:
    """Return the originals of ``train``, ``validation`` and ``test`` (int64 indices): disjoint, and alike in their
    classes.
    """
    in_test = hold_out(labels, config.test_share, config.seed, len(CLASSES))
    rest = (~in_test).nonzero().squeeze(1)
    validates = hold_out(labels[rest], validation, seed, len(CLASSES))
    return {"train": rest[~validates], "validation": rest[validates], "test": in_test.nonzero().squeeze(1)}


def lay_out(members: Tensor, count: int, config: DigitsConfig, generator: torch.Generator) -> CanvasLayout:
    """Place the originals ``members`` (int64 [m]) on ``count`` canvases, each of them equally often up to one."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    n, k, m = count, config.fragments, len(members)
    rounds = [torch.randperm(m, generator=generator) for _ in range(math.ceil(n / m))]
    main = torch.cat(rounds)[:n, None]
    # An offset of 1..m-1 from the digit itself: any other original, of any class. Were the digit's own class left out,
    # the fragments would betray it.
    others = (main + torch.randint(1, m, (n, k), generator=generator)) % m

    digit_center = uniform(-config.shift, config.shift, n, 1, 2)
    away = uniform(*config.fragment_distance, n, k) * (1 - 2 * torch.randint(2, (n, k), generator=generator))
    along = uniform(-config.fragment_distance[1], config.fragment_distance[1], n, k)
    fragment_center = torch.stack([away, along], dim=2)
    sideways = torch.rand(n, k, generator=generator) < 0.5
    fragment_center[sideways] = fragment_center[sideways].flip(1)

    theta = _canvas_to_original(
        center=torch.cat([digit_center, fragment_center], dim=1),
        side=uniform(*config.side, n, 1 + k),
        degrees=uniform(*config.rotation_degrees, n, 1 + k),
    )
    contrast = torch.cat([uniform(*config.contrast, n, 1), uniform(*config.fragment_contrast, n, k)], dim=1)
    return CanvasLayout(members[torch.cat([main, others], dim=1)], theta, contrast)


def draw(layout: CanvasLayout, images: Tensor, config: DigitsConfig, generator: torch.Generator) -> Tensor:
    """Return the canvases of ``layout``, from the `originals`' ``images``: uint8 [n, 1, 32, 32]."""
    n, pieces = layout.sources.shape
    canvases = torch.empty(n, 1, SIDE, SIDE)
    for start in range(0, n, _CANVASES_AT_ONCE):
        batch = slice(start, start + _CANVASES_AT_ONCE)
        sources, theta = layout.sources[batch].flatten(), layout.theta[batch].flatten(0, 1)
        grid = F.affine_grid(theta, [len(sources), 1, SIDE, SIDE], align_corners=False)
        stretched = F.grid_sample(images[sources], grid, mode="bilinear", align_corners=False)
        bright = stretched.view(-1, pieces, SIDE, SIDE) * layout.contrast[batch, :, None, None]
        canvases[batch] = bright.amax(dim=1, keepdim=True)
    canvases = config.margin + (1 - 2 * config.margin) * canvases
    canvases += config.noise * torch.randn(canvases.shape, generator=generator)
    return canvases.clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def _canvas_to_original(center: Tensor, side: Tensor, degrees: Tensor) -> Tensor:
    """Affine maps [n, k, 2, 3] for squares of ``side`` [n, k] around ``center`` [n, k, 2], seen from the canvas center.

    Both coordinate systems run from -1 to 1, so a canvas pixel is 2/SIDE of one and 2/side of the other.
    """
    angle = torch.deg2rad(degrees)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, sin], dim=-1), torch.stack([-sin, cos], dim=-1)], dim=-2)
    linear = turn * (SIDE / side)[..., None, None]
    offset = -turn @ (center * (2 / side)[..., None])[..., None]
    return torch.cat([linear, offset], dim=-1)
