"""Pictures, arrays and files as a plan's input, for a client: Pillow and numpy, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, MissingPackageError, PlanError
from ...pictures import KINDS, SUFFIXES, Picture, files_below, is_picture, open_file, open_picture
from ...plan import Plan, normalized, read_array

if TYPE_CHECKING:
    from PIL.Image import Image

    #: A path, a picture of Pillow's, uint8 pixels [C, H, W], [H, W, C] or [H, W], or the network's input [C, h, w].
    AnyImage: TypeAlias = str | PathLike[str] | Image | NDArray[Any]

_ARRAY = ".npy"


def each_image(images: AnyImage | Iterable[AnyImage]) -> Iterator[AnyImage]:
    """Yield the images of a list, or of an array [B, C, H, W]; one alone is a list of one."""
    single = isinstance(images, str | PathLike) or is_picture(images) or getattr(images, "ndim", 4) < 4  # or a list
    yield from (images,) if single else images  # type: ignore[misc]


def image_input(image: AnyImage, plan: Plan, *, resize: bool = False, name: str = "the image") -> NDArray[np.float64]:
    """Return the plan's input [C, h, w] from one image of any kind; ``name`` is what errors call it.

    Arrays of real numbers are the network's input, normalized already. ``resize`` stretches pictures to the size of
    the plan. Raises `DataError`, and `PlanError` when the plan says nothing about pictures.
    """
    if isinstance(image, str | PathLike):
        return read_input(Path(fspath(image)), plan, resize=resize)
    if is_picture(image):
        return _normalized(_pixels(open_picture(image, name), _picture_shape(plan), resize), plan)  # type: ignore[arg-type]
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
    if array or path.suffix.lower() == _ARRAY:
        return _checked_input(read_array(path), f"{path}", plan.input_shape)
    return _normalized(read_picture(path, _picture_shape(plan), resize=resize), plan)


def read_picture(path: Path, shape: tuple[int, int, int], *, resize: bool) -> NDArray[np.uint8]:
    """Return a picture file as uint8 [C, H, W], by the rule of `deepreduce.pictures`, as in training.

    ``resize`` stretches it to the size, without it another size raises `DataError`, as do files that are not read.
    """
    return _pixels(open_file(path), shape, resize)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files, and for a folder the pictures and arrays in it and below it, by name, but for hidden ones.

    Raises `DataError` for a folder that has none.
    """
    found: list[Path] = []
    for path in paths:
        inside = [path]
        if path.is_dir():
            inside, _ = files_below(path, SUFFIXES | {_ARRAY})
            if not inside:
                raise DataError(f"the folder {path} has no pictures", f"give one with {KINDS} or {_ARRAY} files")
        found += inside
    return found


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


def _pixels(picture: Picture, shape: tuple[int, int, int], resize: bool) -> NDArray[np.uint8]:
    """Return an open picture as uint8 [C, H, W]."""
    channels, height, width = shape
    if not resize and picture.size != (width, height):  # before it is decoded
        found = "x".join(map(str, picture.size))
        raise DataError(f"{picture.name} is {found} pixels, the plan takes {width}x{height}", "`resize` stretches it")
    return picture.pixels(channels, (width, height))


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
    return _pixels(open_picture(Image.fromarray(np.ascontiguousarray(array)), name), shape, resize)


def _checked_input(found: NDArray[Any], name: str, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    if found.shape != shape or found.dtype.kind not in "fiub":
        raise DataError(
            f"{name} holds {found.dtype} {found.shape}, the plan takes real numbers {shape}", "give one input a file"
        )
    values: NDArray[np.float64] = found.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{name} has values that are not finite", "normalize as in training")
    return values
