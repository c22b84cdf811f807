"""Pictures, arrays and files as a plan's input, for a client: Pillow and numpy, no torch."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, MissingPackageError, PlanError, one_line
from ...orientation import orientation, upright, upright_size
from ...plan import Plan, normalized, read_array

if TYPE_CHECKING:
    from PIL.Image import Image

    #: A path, a picture of Pillow's, uint8 pixels [C, H, W], [H, W, C] or [H, W], or the network's input [C, h, w].
    AnyImage: TypeAlias = str | PathLike[str] | Image | NDArray[Any]

FORMATS = ("PNG", "JPEG")  # Pillow knows many more, and hands some to other programs, whatever the file is called
SUFFIXES = (".png", ".jpg", ".jpeg", ".npy")  # of files that are taken from a folder
MAX_BYTES = 1 << 28  # of a picture file
MAX_PIXELS = 1 << 26
CLEAR = {"1", "L", "P", "RGB"}  # modes without transparency that say what grey or RGB is


def each_image(images: AnyImage | Iterable[AnyImage]) -> Iterator[AnyImage]:
    """Yield the images of a list, or of an array [B, C, H, W]; one alone is a list of one."""
    single = isinstance(images, str | PathLike) or _is_picture(images) or getattr(images, "ndim", 4) < 4  # or a list
    yield from (images,) if single else images  # type: ignore[misc]


def image_input(image: AnyImage, plan: Plan, *, resize: bool = False, name: str = "the image") -> NDArray[np.float64]:
    """Return the plan's input [C, h, w] from one image of any kind; ``name`` is what errors call it.

    Arrays of real numbers are the network's input, normalized already. ``resize`` stretches pictures to the size of
    the plan. Raises `DataError`, and `PlanError` when the plan says nothing about pictures.
    """
    if isinstance(image, str | PathLike):
        return read_input(Path(fspath(image)), plan, resize=resize)
    if _is_picture(image):
        return _normalized(_pixels(image, name, _picture_shape(plan), resize), plan)  # type: ignore[arg-type]
    try:
        array = np.asarray(image)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype == np.uint8 and array.ndim in (2, 3):
        return _normalized(_from_pixels(array, name, _picture_shape(plan), resize), plan)
    if array.dtype.kind == "f" and array.ndim == 3:
        return _checked_input(array, name, plan.input_shape)
    found = f"{array.dtype} {array.shape}" if array.ndim else type(image).__name__
    raise DataError(
        f"{name} is {found}",
        f"give a path, a picture, uint8 pixels, or the network's input: real numbers {plan.input_shape}",
    )


def read_input(path: Path, plan: Plan, *, array: bool = False, resize: bool = False) -> NDArray[np.float64]:
    """Return the plan's input [C, h, w] from a picture, or from a .npy file with just that (``array``, or by its name).

    Raises `DataError` (naming the file), `PlanError` when the plan says nothing about pictures.
    """
    if array or path.suffix == ".npy":
        return _checked_input(read_array(path), f"{path}", plan.input_shape)
    return _normalized(read_picture(path, _picture_shape(plan), resize=resize), plan)


def read_picture(path: Path, shape: tuple[int, int, int], *, resize: bool) -> NDArray[np.uint8]:
    """Return a picture file as uint8 [C, H, W]; grey and RGB are converted into each other, as in training.

    The picture is turned as its EXIF orientation says. ``resize`` stretches it to the size (bilinear), without it
    another size raises `DataError`; so do files that are missing, undecodable, deeper than 8 bits, transparent, or of
    another color space.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingPackageError("reading pictures needs Pillow", "pip install 'deepreduce[client]'") from error
    try:
        content = _content(path)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _pixels(image, f"{path}", shape, resize, content)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path} is missing", "check the path") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = "not a PNG or JPEG" if isinstance(error, UnidentifiedImageError) else one_line(error)
        raise DataError(f"{path} cannot be decoded: {reason}", "give a PNG or JPEG") from None


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files, and for a folder the pictures and arrays in it and below it, by name.

    Raises `DataError` for a folder that has none.
    """
    found: list[Path] = []
    for path in paths:
        inside = [path]
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
            if not inside:
                raise DataError(f"the folder {path} has no pictures", "give one with PNG, JPEG or .npy files")
        found += inside
    return found


def _is_picture(image: object) -> bool:
    """Return whether it is a picture of Pillow's, which need not be installed."""
    return hasattr(image, "convert") and hasattr(image, "getbands")


def _picture_shape(plan: Plan) -> tuple[int, int, int]:
    if plan.pictures is None:
        raise PlanError(
            "the plan does not say how pictures become its input",
            f"give .npy files with arrays {plan.input_shape} of real numbers",
        )
    if plan.pictures.shape[0] not in (1, 3):
        raise PlanError(f"the plan takes {plan.pictures.shape[0]} channels, pictures have 1 or 3", "give .npy files")
    return plan.pictures.shape


def _normalized(pixels: NDArray[np.uint8], plan: Plan) -> NDArray[np.float64]:
    values: NDArray[np.float64] = normalized(plan, pixels[None])[0]
    return values


def _pixels(
    image: Image, name: str, shape: tuple[int, int, int], resize: bool, content: bytes | None = None
) -> NDArray[np.uint8]:
    """Return an opened picture, of a file that is ``content``, as uint8 [C, H, W]."""
    from PIL import Image

    channels, height, width = shape
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{name} has {image.width}x{image.height} pixels", f"at most {MAX_PIXELS} are read")
    tag = orientation(image, content)
    size = upright_size(image.size, tag)
    if not resize and size != (width, height):  # before it is decoded
        raise _other_size(name, size, (width, height))
    image.load()
    _check_mode(name, image)
    pixels = upright(image.convert("L" if channels == 1 else "RGB"), tag)
    if pixels.size != (width, height):
        pixels = pixels.resize((width, height), resample=Image.Resampling.BILINEAR)
    return np.asarray(pixels, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)


def _from_pixels(array: NDArray[np.uint8], name: str, shape: tuple[int, int, int], resize: bool) -> NDArray[np.uint8]:
    """Return pixels [C, H, W], [H, W, C] or [H, W] as the plan's [C, H, W]."""
    if array.shape == shape:
        return array
    if array.ndim == 3 and array.shape[-1] not in (1, 3) and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if 0 in array.shape or (array.ndim == 3 and array.shape[-1] != 3):
        raise DataError(f"{name} has pixels of shape {array.shape}", "give [C, H, W], [H, W, C] or [H, W], C 1 or 3")
    if array.ndim == 2 and shape[0] == 1 and array.shape == shape[1:]:
        return array[None]
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("converting pictures needs Pillow", "pip install 'deepreduce[client]'") from error
    return _pixels(Image.fromarray(np.ascontiguousarray(array)), name, shape, resize)


def _content(path: Path) -> bytes:
    """Return all of the file, so that Pillow finds its end: it allocates what a file only says that it holds."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"{path} is longer than {MAX_BYTES} bytes", "shrink the picture")
    return content


def _other_size(name: str, found: tuple[int, int], wanted: tuple[int, int]) -> DataError:
    return DataError(
        f"{name} is {found[0]}x{found[1]} pixels, the plan takes {wanted[0]}x{wanted[1]}", "`resize` stretches it"
    )


def _check_mode(name: str, image: Image) -> None:
    """Raises `DataError` where a conversion would guess."""
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{name} has more than 8 bits a channel (mode {image.mode})", "convert it to 8 bits")
    transparent = "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa")
    if transparent and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise DataError(f"{name} is transparent (mode {image.mode})", "put it on a background first")
    if not transparent and image.mode not in CLEAR:
        raise DataError(f"{name} is in the color space {image.mode}", "convert it to RGB or grey")


def _checked_input(found: NDArray[Any], name: str, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    if found.shape != shape or found.dtype.kind not in "fiub":
        raise DataError(
            f"{name} holds {found.dtype} {found.shape}, the plan takes real numbers {shape}", "give one input a file"
        )
    values: NDArray[np.float64] = found.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{name} has values that are not finite", "normalize as in training")
    return values
