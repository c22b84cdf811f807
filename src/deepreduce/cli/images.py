"""Picture files and arrays as a plan's input, for a client: Pillow and numpy, no torch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, MissingPackageError, PlanError
from ..plan import Plan, normalized, read_array

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG")  # Pillow knows many more, and hands some to other programs, whatever the file is called
MAX_BYTES = 1 << 28  # of a picture file
MAX_PIXELS = 1 << 26
CLEAR = {"1", "L", "P", "RGB"}  # modes without transparency that say what grey or RGB is


def read_input(path: Path, plan: Plan, *, array: bool, resize: bool) -> NDArray[np.float64]:
    """Return the plan's input [C, h, w] from a picture, or from a .npy file with just that (``array``, or by its name).

    Raises `DataError` (naming the file), `PlanError` when the plan says nothing about pictures.
    """
    if array or path.suffix == ".npy":
        return _read_array(path, plan.input_shape)
    if plan.pictures is None:
        raise PlanError(
            "the plan does not say how pictures become its input",
            f"give .npy files with arrays {plan.input_shape} of real numbers",
        )
    pixels = read_picture(path, plan.pictures.shape, resize=resize)
    values: NDArray[np.float64] = normalized(plan, pixels[None])[0]
    return values


def read_picture(path: Path, shape: tuple[int, int, int], *, resize: bool) -> NDArray[np.uint8]:
    """Return a picture file as uint8 [C, H, W]; grey and RGB are converted into each other, as in training.

    ``resize`` stretches it to the size (bilinear), without it another size raises `DataError`; so do files that are
    missing, undecodable, deeper than 8 bits, transparent, or of another color space.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("reading pictures needs Pillow", "pip install 'deepreduce[client]'") from error
    channels, height, width = shape
    if channels not in (1, 3):
        raise PlanError(f"the plan takes {channels} channels, pictures have 1 or 3", "give .npy files")
    try:
        with Image.open(io.BytesIO(_content(path)), formats=FORMATS) as image:
            if not resize and image.size != (width, height):
                raise _other_size(path, image.size, (width, height))
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path} has {image.width}x{image.height} pixels", f"at most {MAX_PIXELS} are read")
            image.load()
            _check_mode(path, image)
            pixels = image.convert("L" if channels == 1 else "RGB")
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path} is missing", "check the path") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded: {' '.join(str(error).split())}", "give a PNG or JPEG") from None
    if pixels.size != (width, height):
        pixels = pixels.resize((width, height), resample=Image.Resampling.BILINEAR)
    return np.asarray(pixels, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)


def _content(path: Path) -> bytes:
    """Return all of the file, so that Pillow finds its end: it allocates what a file only says that it holds."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"{path} is longer than {MAX_BYTES} bytes", "shrink the picture")
    return content


def _other_size(path: Path, found: tuple[int, int], wanted: tuple[int, int]) -> DataError:
    return DataError(
        f"{path} is {found[0]}x{found[1]} pixels, the plan takes {wanted[0]}x{wanted[1]}", "--resize stretches it"
    )


def _check_mode(path: Path, image: Image) -> None:
    """Raises `DataError` where a conversion would guess."""
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{path} has more than 8 bits a channel (mode {image.mode})", "convert it to 8 bits")
    transparent = "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa")
    if transparent and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise DataError(f"{path} is transparent (mode {image.mode})", "put it on a background first")
    if not transparent and image.mode not in CLEAR:
        raise DataError(f"{path} is in the color space {image.mode}", "convert it to RGB or grey")


def _read_array(path: Path, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    found = read_array(path)
    if found.shape != shape or found.dtype.kind not in "fiub":
        raise DataError(
            f"{path} holds {found.dtype} {found.shape}, the plan takes real numbers {shape}", "give one input a file"
        )
    values: NDArray[np.float64] = found.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{path} has values that are not finite", "normalize as in training")
    return values
