"""Image files to one uint8 tensor, decoded by Pillow in a few threads."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, MissingPackageError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_GREY_MODES = frozenset({"1", "L", "LA"})
MAX_PIXELS = 1 << 26
_FILES_AT_ONCE = 64  # a task for each file would cost more than decoding a thumbnail


@dataclass(frozen=True)
class Header:
    """Header of an image file, read before its pixels are decoded."""

    height: int
    width: int
    grey: bool


def image_files(folder: Path) -> list[Path]:
    """Return the image files directly in ``folder``, by name; hidden files and files of other kinds are passed over."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """Return size and kind of every image. Raises `DataError` naming the first file that is not an image."""
    headers: list[Header] = [Header(0, 0, False)] * len(paths)

    def read(index: int) -> None:
        with _opened(paths[index]) as image:
            headers[index] = Header(image.height, image.width, image.mode in _GREY_MODES)

    _in_threads(read, len(paths))
    return headers


def decode(paths: Sequence[Path], height: int, width: int, channels: int, *, resize: bool = False) -> Tensor:
    """Return the images as uint8 [n, channels, height, width]: RGB for 3 channels, grey for 1, converted where need be.

    With ``resize`` every image is stretched to the size (bilinear, antialiased), without it an image of another size
    raises `DataError`, as do files that are missing, undecodable or deeper than 8 bits. Orientation tags are not
    followed.
    """
    images = np.empty((len(paths), channels, height, width), dtype=np.uint8)

    def read(index: int) -> None:
        with _opened(paths[index]) as image:
            # RGB first: a palette cannot be resized, and grey is the luma of RGB.
            pixels = image.convert("L" if channels == 1 else "RGB")
        if pixels.size != (width, height):
            if not resize:
                raise DataError(f"{paths[index]} is {pixels.width}x{pixels.height} pixels, expected {width}x{height}")
            pixels = pixels.resize((width, height), resample=2)  # Image.Resampling.BILINEAR
        images[index] = np.asarray(pixels).reshape(height, width, channels).transpose(2, 0, 1)

    _in_threads(read, len(paths))
    return torch.from_numpy(images)


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """Yield an open 8-bit image; whatever Pillow raises about the file becomes a `DataError` that names it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("reading images needs Pillow", "pip install 'deepreduce[search]'") from error
    try:
        # All of the file, so that Pillow finds its end: it allocates what a file only says that it holds.
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path} has {image.width}x{image.height} pixels", f"at most {MAX_PIXELS} are read")
            if image.mode.startswith(("I", "F")):  # Pillow would clip these to 255 instead of scaling them
                raise DataError(f"{path} has more than 8 bits a channel (mode {image.mode})", "convert it to 8 bits")
            yield image
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded: {error}", "replace or remove it") from error


def _in_threads(task: Callable[[int], None], count: int) -> None:
    """Run ``task`` for 0..count-1; the first failure, in order, is raised."""

    def run(start: int) -> None:
        for index in range(start, min(start + _FILES_AT_ONCE, count)):
            task(index)

    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        for _ in pool.map(run, range(0, count, _FILES_AT_ONCE)):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
