"""Tiny data for whole searches in seconds: stripes of two directions, as a `Dataset` or as a folder of images."""

from pathlib import Path

import torch

from deepreduce.data.dataset import Dataset, Split, assemble


def stripes(n: int, seed: int) -> Split:
    """n noisy 8x8 grey images; label 1 if the stripes are vertical."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    wave = ((torch.arange(8) % 4 < 2) * 120).float()
    images = torch.where(labels.view(-1, 1, 1).bool(), wave.view(1, 1, 8), wave.view(1, 8, 1)).unsqueeze(1)
    return Split((images + 60 * torch.rand(n, 1, 8, 8, generator=g)).to(torch.uint8), labels)


def stripes_dataset() -> Dataset:
    return assemble("stripes", ("h", "v"), stripes(96, 0), stripes(40, 1), stripes(40, 2))


def write_folder(path: Path, n: int = 160) -> Path:
    """The same as PNG files, in PATH/<class>/."""
    from PIL import Image

    split = stripes(n, 0)
    for index, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        folder = path / ("horizontal", "vertical")[int(label)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{index}.png")
    return path
