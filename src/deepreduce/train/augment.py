"""Batched augmentation on the device: crop, flip, cutout, CutMix, all from one seeded generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.dataset import Split
from .recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """Normalized images [b, c, h, w]; each is ``share`` of ``labels`` and ``1 - share`` of ``other_labels``."""

    images: Tensor
    labels: Tensor
    other_labels: Tensor | None = None
    share: float = 1.0


class Augmenter:
    """Serves augmented batches of a split that stays resident on its device as padded bytes."""

    def __init__(self, split: Split, mean: tuple[float, ...], std: tuple[float, ...], recipe: Recipe) -> None:
        self.recipe = recipe
        self.labels = split.labels
        self.side = split.images.shape[2:]
        pad = recipe.crop_padding
        self.normalize = Normalizer(mean, std, split.images.device, recipe.channels_last)
        if not pad:
            self.windows = None
            self.images = split.images
            return
        # The padding takes the mean color, which normalizes to about 0. Windows are views, not copies.
        n, channels, height, width = split.images.shape
        color = torch.tensor(mean, device=split.images.device).mul(255).round().to(torch.uint8)
        padded = color.view(1, -1, 1, 1).expand(n, channels, height + 2 * pad, width + 2 * pad).contiguous()
        padded[:, :, pad : pad + height, pad : pad + width] = split.images
        self.windows = padded.unfold(2, height, 1).unfold(3, width, 1)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Return the images at ``indices`` (int64 [b], on the device), freshly augmented."""
        labels = self.labels[indices]
        images = self.normalize(self._flip(self._crop(indices, generator), generator))
        if self.recipe.cutout:
            images = cutout(images, self.recipe.cutout, generator)
        if self.recipe.cutmix:
            return cutmix(images, labels, self.recipe.cutmix, generator)
        return Batch(images, labels)

    def _crop(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        if self.windows is None:
            return self.images[indices]
        span = 2 * self.recipe.crop_padding + 1
        corner = torch.randint(span, (2, len(indices)), generator=generator, device=indices.device)
        return self.windows[indices, :, corner[0], corner[1]]

    def _flip(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if not self.recipe.flip:
            return images
        flipped = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
        return torch.where(flipped, images.flip(3), images)


class Normalizer:
    """Bytes [b, c, h, w] to floats of mean 0 and deviation 1 per channel, in the memory format asked for."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device, channels_last: bool
    ) -> None:
        self.scale = 1 / (255 * torch.tensor(std, device=device).view(1, -1, 1, 1))
        self.shift = -torch.tensor(mean, device=device).view(1, -1, 1, 1) * 255 * self.scale
        self.format = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 to float32, same shape."""
        return torch.addcmul(self.shift, images.to(memory_format=self.format), self.scale)


def cutout(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Zero (the mean color) one square of ``side`` pixels per image, centered anywhere (DeVries and Taylor 2017)."""
    n, _, height, width = images.shape
    inside = []
    for size in (height, width):
        center = torch.randint(size, (n, 1), generator=generator, device=images.device)
        offset = torch.arange(size, device=images.device) - center + side // 2
        inside.append((offset >= 0) & (offset < side))
    hole = inside[0].view(n, 1, height, 1) & inside[1].view(n, 1, 1, width)
    return images.masked_fill(hole, 0)


def cutmix(images: Tensor, labels: Tensor, alpha: float, generator: torch.Generator) -> Batch:
    """Paste one box of each image's partner over it (Yun et al. 2019): one box and one pairing per batch."""
    n, _, height, width = images.shape
    device = images.device
    # torch's Beta distribution takes no generator: a ratio of two Gamma draws, seeded from ours.
    seed = int(torch.randint(2**62, (1,), generator=generator, device=device))
    host = torch.Generator().manual_seed(seed)
    gammas = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=host)
    area = 1 - float(gammas[0] / gammas.sum())
    box_h, box_w = round(height * area**0.5), round(width * area**0.5)
    y, x = (int(torch.randint(size, (1,), generator=host)) for size in (height, width))
    rows = slice(max(0, y - box_h // 2), min(height, y + (box_h + 1) // 2))
    columns = slice(max(0, x - box_w // 2), min(width, x + (box_w + 1) // 2))
    partner = torch.randperm(n, generator=generator, device=device)
    mixed = images.clone()
    mixed[:, :, rows, columns] = images[partner, :, rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    return Batch(mixed, labels, labels[partner], 1 - pasted)
