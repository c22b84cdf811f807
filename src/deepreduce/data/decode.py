"""Image files to one uint8 tensor, decoded by the rule of `deepreduce.pictures` in a few threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from ..pictures import UndecodableError, open_file

_FILES_AT_ONCE = 64  # a task for each file would cost more than decoding a thumbnail
_NAMED = 10  # of the files that cannot be decoded


@dataclass(frozen=True)
class Header:
    """Header of an image file, read before its pixels are decoded; height and width are those of the upright image."""

    height: int
    width: int
    grey: bool


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """Return size and kind of every image. Raises `UndecodableError` naming all files that are not images."""
    headers: list[Header] = [Header(0, 0, False)] * len(paths)

    def read(index: int) -> None:
        picture = open_file(paths[index])
        headers[index] = Header(picture.size[1], picture.size[0], picture.grey)

    _in_threads(read, len(paths))
    return headers


def check(paths: Sequence[Path]) -> None:
    """Decode every image, keeping none. Raises `UndecodableError` naming all files for which that fails."""

    def read(index: int) -> None:
        open_file(paths[index]).pixels(3)

    _in_threads(read, len(paths))


def decode(paths: Sequence[Path], height: int, width: int, channels: int, *, resize: bool = False) -> Tensor:
    """Return the images as uint8 [n, channels, height, width], as a client reads them (`deepreduce.pictures`).

    With ``resize`` every image is stretched to the size, without it an image of another size raises `DataError`. Files
    that cannot be decoded raise an `UndecodableError` that names all of them.
    """
    images = np.empty((len(paths), channels, height, width), dtype=np.uint8)

    def read(index: int) -> None:
        picture = open_file(paths[index])
        if not resize and picture.size != (width, height):
            found = "x".join(map(str, picture.size))
            raise DataError(f"{paths[index]} is {found} pixels, expected {width}x{height}")
        images[index] = picture.pixels(channels, (width, height))

    _in_threads(read, len(paths))
    return torch.from_numpy(images)


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
