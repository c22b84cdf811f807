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

from ..errors import DataError, MissingPackageError, one_line
from ..orientation import orientation, upright, upright_size

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_GREY_MODES = frozenset({"1", "L", "LA"})
MAX_PIXELS = 1 << 26
_FILES_AT_ONCE = 64  # a task for each file would cost more than decoding a thumbnail
_NAMED = 10  # of the files that cannot be decoded


class UndecodableError(DataError):
    """Image files that are missing, damaged or of a kind that is not read."""


@dataclass(frozen=True)
class Header:
    """Header of an image file, read before its pixels are decoded; height and width are those of the upright image."""

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
    """Return size and kind of every image. Raises `UndecodableError` naming all files that are not images."""
    headers: list[Header] = [Header(0, 0, False)] * len(paths)

    def read(index: int) -> None:
        with _opened(paths[index]) as (image, tag):
            width, height = upright_size(image.size, tag)
            headers[index] = Header(height, width, image.mode in _GREY_MODES)

    _in_threads(read, len(paths))
    return headers


def check(paths: Sequence[Path]) -> None:
    """Decode every image, keeping none. Raises `UndecodableError` naming all files for which that fails."""

    def read(index: int) -> None:
        with _opened(paths[index]) as (image, _):
            image.load()

    _in_threads(read, len(paths))


def decode(paths: Sequence[Path], height: int, width: int, channels: int, *, resize: bool = False) -> Tensor:
    """Return the images as uint8 [n, channels, height, width]: RGB for 3 channels, grey for 1, converted where need be.

    Images are turned upright as their EXIF orientation says. With ``resize`` every image is stretched to the size
    (bilinear, antialiased), without it an image of another size raises `DataError`. Files that are missing, undecodable
    or deeper than 8 bits raise an `UndecodableError` that names all of them.
    """
    images = np.empty((len(paths), channels, height, width), dtype=np.uint8)

    def read(index: int) -> None:
        with _opened(paths[index]) as (image, tag):
            # RGB first: a palette cannot be resized, and grey is the luma of RGB.
            pixels = upright(image.convert("L" if channels == 1 else "RGB"), tag)
        if pixels.size != (width, height):
            if not resize:
                raise DataError(f"{paths[index]} is {pixels.width}x{pixels.height} pixels, expected {width}x{height}")
            pixels = pixels.resize((width, height), resample=2)  # Image.Resampling.BILINEAR
        images[index] = np.asarray(pixels).reshape(height, width, channels).transpose(2, 0, 1)

    _in_threads(read, len(paths))
    return torch.from_numpy(images)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image, int]]:
    """Yield an open 8-bit image and its orientation; what Pillow raises becomes an `UndecodableError` for the file."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingPackageError("reading images needs Pillow", "pip install 'deepreduce[search]'") from error
    try:
        # All of the file, so that Pillow finds its end: it allocates what a file only says that it holds.
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width}x{image.height} pixels"
                raise UndecodableError(f"{path} has {size}, at most {MAX_PIXELS} are read", "shrink large images")
            if image.mode.startswith(("I", "F")):  # Pillow would clip these to 255 instead of scaling them
                bits = f"more than 8 bits a channel (mode {image.mode})"
                raise UndecodableError(f"{path} has {bits}", "convert images to 8 bits a channel")
            yield image, orientation(image, content)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise UndecodableError(f"{path} is missing", "restore missing files") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else one_line(error)
        raise UndecodableError(f"{path} cannot be decoded: {reason}", "replace or remove damaged images") from error


def _in_threads(task: Callable[[int], None], count: int) -> None:
    """Run ``task`` for 0..count-1. Files that cannot be decoded are raised as one error, any other failure at once."""

    def run(start: int) -> list[UndecodableError]:
        failures = []
        for index in range(start, min(start + _FILES_AT_ONCE, count)):
            try:
                task(index)
            except UndecodableError as error:
                failures.append(error)
        return failures

    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        failures = [error for found in pool.map(run, range(0, count, _FILES_AT_ONCE)) for error in found]
    finally:
        pool.shutdown(cancel_futures=True)
    if failures:
        raise _together(failures)


def _together(failures: list[UndecodableError]) -> UndecodableError:
    """Return one error that says what is wrong with each file, naming at most `_NAMED` of them, and all remedies."""
    if len(failures) == 1:
        return failures[0]
    named = "; ".join(error.message for error in failures[:_NAMED])
    more = f"; and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
    hints = dict.fromkeys(error.hint for error in failures)
    return UndecodableError(f"{len(failures)} images cannot be used: {named}{more}", "; ".join(hints))
