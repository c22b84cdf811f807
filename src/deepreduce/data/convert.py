"""Data of other forms: torch data sets and loaders, sequences of pairs, arrays and PIL images, as splits in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from ..errors import DataError
from ..pictures import is_picture, open_picture
from .dataset import Dataset, Split, divide

#: A data set's name, a folder, a `Dataset`, or one or several splits: torch data sets, loaders, sequences of pairs.
DataLike = Any
FORMS = (
    "give a name such as 'cifar100' or 'folder:PATH', a torch Dataset or DataLoader of (image, label), such a list, or "
    "{'train': ..., 'test': ...} of them"
)
_SPLITS = ("train", "validation", "test")


def as_dataset(data: DataLike, *, seed: int = 0, validation: float = 0.1) -> Dataset:
    """Return ``data`` as a `Dataset`.

    A name or a folder is loaded. A torch data set or loader, or a list, of (image, label) is divided into training,
    validation and test split as ``folder:`` divides its images; a mapping names the splits ``train``, ``test`` and
    perhaps ``validation``. Images are as `as_split` says. Raises `DataError` for anything else.
    """
    from . import load

    if isinstance(data, Dataset):
        return data
    if isinstance(data, Path):
        data = f"folder:{data}"
    if isinstance(data, str):
        return load(data, seed=seed, validation=validation)
    parts = dict(data) if isinstance(data, Mapping) else {"": data}
    if isinstance(data, Mapping) and not (len(parts) > 1 and {"train"} <= parts.keys() <= set(_SPLITS)):
        raise DataError(
            f"splits are called {', '.join(map(str, parts)) or 'nothing'}", "expected train, test, validation"
        )
    splits = {name: as_split(part) for name, part in parts.items()}
    first = next(iter(parts.values()))
    first = first.dataset if isinstance(first, DataLoader) else first
    shapes = {tuple(split.images.shape[1:]) for split in splits.values()}
    if len(shapes) > 1:
        raise DataError(
            f"the splits' images differ in shape: {_listed(shapes)}", "give all one size and number of channels"
        )
    name = type(first).__name__
    dataset = divide(name, _classes(first, splits.values()), splits, validation, seed)
    return replace(dataset, validation_share=validation)


def as_split(data: Any) -> Split:
    """Return (image, label) pairs as one `Split`: of a torch data set, the data set of a loader, or a sequence.

    An image is a PIL image (turned upright by its EXIF tag), or an array: uint8 or real numbers from 0 to 1, [h, w],
    [c, h, w] or [h, w, c] with 1 or 3 channels. Raises `DataError` for other values and for images of several sizes.
    """
    if isinstance(data, Split):
        return data
    images, labels = [], []
    for index, item in enumerate(_items(data)):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(f"item {index} is {_described(item)}, not a pair (image, label)", FORMS)
        images.append(_eight_bits(_array(item[0], index), index))
        labels.append(_label(item[1], index))
    return Split(torch.from_numpy(_stacked(images)), torch.tensor(labels, dtype=torch.int64))


def as_samples(data: Any) -> NDArray[Any]:
    """Return images without labels as one array [n, c, h, w], which may be what is given.

    ``data`` is an array, a tensor, one PIL image, or what `as_split` takes, whose labels may be absent. 8-bit images
    stay so, real numbers stay as they are: inputs of a network. Raises `DataError`.
    """
    if isinstance(data, Split):
        data = data.images
    if isinstance(data, Dataset):
        data = data.train.images
    if isinstance(data, Tensor | np.ndarray):
        values = _numpy(data)
        if values.ndim != 4 or not len(values) or values.dtype.kind not in "uifb":
            shape = f"{values.dtype} {tuple(values.shape)}"
            raise DataError(f"the samples are {shape}", "give at least one, as an array of numbers [n, C, H, W]")
        return values
    if is_picture(data):
        data = [data]
    items = (item[0] if isinstance(item, tuple | list) and len(item) == 2 else item for item in _items(data))
    arrays = [_array(item, index) for index, item in enumerate(items)]
    if any(array.dtype != np.uint8 for array in arrays):
        arrays = [array.astype(np.float64) for array in arrays]
    return _stacked(arrays)


def _items(data: Any) -> Iterator[Any]:
    if isinstance(data, DataLoader):
        data = data.dataset
    if isinstance(data, Mapping | str | bytes) or is_picture(data) or isinstance(data, Tensor | np.ndarray):
        raise DataError(f"the data are {_described(data)}", FORMS)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):  # not every torch data set ends by itself
        return (data[index] for index in range(len(data)))
    if isinstance(data, Iterable):
        return iter(data)
    raise DataError(f"the data are {_described(data)}", FORMS)


def _array(image: Any, index: int) -> NDArray[Any]:
    """Return an image [c, h, w]."""
    if is_picture(image):
        picture = open_picture(image, f"image {index}")
        return picture.pixels(1 if picture.grey else 3)
    if isinstance(image, Tensor | np.ndarray):
        values = _numpy(image)
    else:
        raise DataError(f"image {index} is {_described(image)}", "give PIL images or arrays [c, h, w]")
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or values.dtype.kind not in "uifb" or 0 in values.shape:
        shape = f"{values.dtype} {tuple(values.shape)}"
        raise DataError(f"image {index} is {shape}", "give PIL images, or arrays of numbers [c, h, w] or [h, w, c]")
    height, width, channels = values.shape
    last = channels in (1, 3) and height not in (1, 3) and width > 1 and image is values
    return values.transpose(2, 0, 1) if last else values


def _eight_bits(values: NDArray[Any], index: int) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    low, high = float(values.min()), float(values.max())
    real = values.dtype.kind in "fb"
    if not 0 <= low <= high <= (1 if real else 255):  # also where a value is not a number
        hint = "leave their normalization out: mean and standard deviation are computed from the training images"
        expected = "from 0 to 1" if real else "from 0 to 255"
        raise DataError(f"image {index} has values from {low:.3g} to {high:.3g}, expected {expected}", hint)
    return np.rint(values * 255.0 if real else values).astype(np.uint8)


def _label(value: Any, index: int) -> int:
    if isinstance(value, Tensor | np.ndarray | np.generic) and np.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DataError(f"label {index} is {_described(value)}", "give the number of the class, from 0")
    return value


def _stacked(images: list[NDArray[Any]]) -> NDArray[Any]:
    if not images:
        raise DataError("the data hold no images", FORMS)
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise DataError(
            f"the images differ in shape: {_listed(shapes)}", "give all one size and number of channels, as by Resize"
        )
    return np.stack(images)


def _classes(first: Any, splits: Iterable[Split]) -> tuple[str, ...]:
    """Return the names that the data set itself has, else the numbers of the classes."""
    count = 1 + max(int(split.labels.max()) for split in splits)
    named = getattr(first, "classes", None)
    if isinstance(named, list | tuple) and len(named) >= count:
        return tuple(map(str, named))
    return tuple(map(str, range(count)))


def _numpy(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy()
    return values


def _described(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"an array {value.dtype} {tuple(value.shape)}"
    return f"{value!r:.60}" if isinstance(value, int | float | str) else f"of type {type(value).__name__}"


def _listed(shapes: Iterable[tuple[int, ...]]) -> str:
    texts = sorted({"x".join(map(str, shape)) for shape in shapes})
    return ", ".join(itertools.islice(texts, 5)) + (" ..." if len(texts) > 5 else "")
