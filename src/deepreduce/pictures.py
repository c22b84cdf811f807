"""Image files and pictures of Pillow's as pixels: one rule for training, calibration and clients. No torch.

* Files are PNG, JPEG, WebP, BMP, GIF or PPM/PGM, by what they hold and not by their names. Their decoders are fuzzed
  without end where they are used (libjpeg, libwebp, zlib), or small and Pillow's own. Others are refused: Pillow hands
  some to other programs, and most TIFF files are deeper than 8 bits, or of several pages.
* Of an animation the first picture counts. Pictures are turned upright by their EXIF orientation.
* Color is RGB, as ``convert("RGB")`` of Pillow makes it, which most other training code calls, too: palettes are looked
  up, CMYK is converted, transparency is left out. Grey is the luma of RGB.
* More than 8 bits a channel are refused: their range is for their owner to choose.
* Another size is stretched, on request only (bilinear, antialiased).
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, MissingPackageError, one_line
from .orientation import orientation, upright, upright_size

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm"})
KINDS = "PNG, JPEG, WebP, BMP, GIF or PPM"
MAX_BYTES = 1 << 28  # of a file
MAX_PIXELS = 1 << 26
_GREY_MODES = frozenset({"1", "L", "LA"})
_MODES = _GREY_MODES | {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}


class UndecodableError(DataError):
    """A file that is missing, damaged or of a kind that is not read."""


@dataclass(frozen=True)
class Picture:
    """An open picture: (width, height) of it upright, and whether it has no colors. Its pixels are decoded later."""

    name: str
    size: tuple[int, int]
    grey: bool
    _image: Image
    _tag: int

    def pixels(self, channels: int, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Return uint8 [channels, height, width]: RGB for 3 channels, grey for 1, stretched to ``size``.

        Raises `UndecodableError` for a damaged file.
        """
        from PIL.Image import Resampling

        with _explained(self.name):
            image = self._image
            image.load()
            if "transparency" in image.info and image.mode == "P":
                image = image.convert("RGBA")  # Pillow warns of a direct way
            turned = upright(image.convert("L" if channels == 1 else "RGB"), self._tag)
            if size not in (None, turned.size):
                turned = turned.resize(size, resample=Resampling.BILINEAR)
        return np.asarray(turned, np.uint8).reshape(turned.height, turned.width, channels).transpose(2, 0, 1)


def open_file(path: Path) -> Picture:
    """Return the picture of a file. Raises `UndecodableError` naming it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("reading pictures needs Pillow", "pip install 'deepreduce[client]'") from error
    with _explained(f"{path}"):
        # All of the file, so that Pillow finds its end: it allocates what a file only says that it holds.
        content = _content(path)
        if not content:
            raise UndecodableError(f"{path} is empty", "replace or remove damaged images")
        if content[:4] == b"RIFF":
            _check_pixels(f"{path}", _webp_size(content))  # its decoder allocates them before Pillow says how many
        return open_picture(Image.open(io.BytesIO(content), formats=FORMATS), f"{path}", content)


def open_picture(image: Image, name: str, content: bytes | None = None) -> Picture:
    """Return a picture of Pillow's, of a file that is ``content``; ``name`` is what errors call it.

    Raises `UndecodableError` where it is too large or too deep, or of a color space that is not known.
    """
    _check_pixels(name, image.size)
    if _is_deep(image):
        raise UndecodableError(f"{name} has more than 8 bits a channel", "convert images to 8 bits a channel")
    if image.mode not in _MODES:
        raise UndecodableError(f"{name} is in the color space {image.mode}", "convert images to RGB or grey")
    with _explained(name):
        tag = orientation(image, content)
    return Picture(name, upright_size(image.size, tag), image.mode in _GREY_MODES, image, tag)


def is_picture(value: object) -> bool:
    """Return whether it is a picture of Pillow's, which need not be installed."""
    return any(kind.__module__ == "PIL.Image" for kind in type(value).__mro__)


def files_below(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> tuple[list[Path], list[Path]]:
    """Return the files in ``folder`` and the folders in it, at any depth, by name: with such a suffix, and the others.

    What is hidden is passed over. Links are followed, to each folder once.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += (Path(place, name) for name in names if not name.startswith("."))
    files = sorted(path for path in found if path.is_file() or not path.exists())  # a link may lead nowhere: say so
    return [p for p in files if p.suffix.lower() in suffixes], [p for p in files if p.suffix.lower() not in suffixes]


def _content(path: Path) -> bytes:
    content = bytearray()
    with path.open("rb") as file:  # which may be a pipe: its length is not known
        while part := file.read(1 << 16):
            content += part
            if len(content) > MAX_BYTES:
                raise UndecodableError(f"{path} is longer than {MAX_BYTES} bytes", "shrink large images")
    return bytes(content)


def _check_pixels(name: str, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise UndecodableError(
            f"{name} has {size[0]}x{size[1]} pixels, at most {MAX_PIXELS} are read", "shrink large images"
        )


def _webp_size(content: bytes) -> tuple[int, int]:
    """Return what the head of a WebP file says about (width, height), (0, 0) where it is damaged."""
    kind, head = content[12:16], content[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    return 0, 0


def _is_deep(image: Image) -> bool:
    """Return whether there are more than 8 bits a channel: Pillow clips grey to 255, and drops the low bits of RGB."""
    for tile in getattr(image, "tile", ()):
        layout = tile[3]  # of the file's pixels: "RGB;16B", or ("RGB", maximum) in a PPM
        most = layout[1] if isinstance(layout, tuple) and len(layout) > 1 and image.format == "PPM" else 0
        if ";16" in str(layout) or (isinstance(most, int) and most > 255):
            return True
    return image.mode.startswith(("I", "F"))


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what Pillow raises about a file into an `UndecodableError` that names it."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise UndecodableError(f"{name} is missing", "check the path") from None
    except UnidentifiedImageError:
        raise UndecodableError(f"{name} cannot be decoded: not a {KINDS}", "convert it to PNG, or remove it") from None
    except (
        OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise UndecodableError(
            f"{name} cannot be decoded: {one_line(error)}", "replace or remove damaged images"
        ) from None
