"""A few test pictures as files beside a plan, for its first predictions."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ..data import DataLike, as_dataset
from ..errors import DataError, MissingPackageError, StoreError

FOLDER = "samples"


def write_samples(folder: Path | str, data: DataLike, count: int, seed: int = 0) -> list[Path]:
    """``count`` random pictures of the test split as FOLDER/samples/NNN_CLASS.png, NNN their place in the split.

    Raises `DataError` when there are fewer, `StoreError` when they cannot be written.
    """
    data = as_dataset(data)
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("writing pictures needs Pillow", "pip install 'deepreduce[search]'") from error
    if not 0 < count <= len(data.test):
        raise DataError(f"{count} samples are asked for, {data.name} has {len(data.test)} test images")
    chosen = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(seed))[:count]
    folder, paths = Path(folder), []
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        for index in sorted(chosen.tolist()):
            name = re.sub(r"[^\w-]+", "_", data.classes[int(data.test.labels[index])])
            path = folder / FOLDER / f"{index:05d}_{name}.png"
            pixels = data.test.images[index]
            Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy()).save(path)
            paths.append(path)
    except OSError as error:
        raise StoreError(f"{folder / FOLDER} cannot be written: {error.strerror or error}") from error
    return paths
