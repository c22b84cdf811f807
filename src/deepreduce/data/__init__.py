"""Data sets by name, as three splits in memory: `load("digits")`, `load("cifar100")`, `load("folder:./images")`.

scikit-learn, pooch and Pillow are imported by the data sets that need them, when they need them: CIFAR from files that
are already there takes torch and numpy only.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import DataError, nearest
from ..paths import data_folder
from .convert import DataLike, as_dataset, as_samples, as_split
from .dataset import IMAGENET, Dataset, Split, assemble, by_channel
from .downsample import averaged

__all__ = [
    "IMAGENET",
    "NAMES",
    "DataLike",
    "Dataset",
    "Split",
    "as_dataset",
    "as_samples",
    "as_split",
    "assemble",
    "by_channel",
    "default_root",
    "load",
]

NAMES = ("digits", "cifar10", "cifar100", "tinyimagenet", "folder:PATH")
_FOLDER = "folder:"
_NATIVE_SIZE = {"digits": (32, 32), "cifar10": (32, 32), "cifar100": (32, 32), "tinyimagenet": (64, 64)}


def load(
    name: str,
    *,
    root: Path | None = None,
    seed: int = 0,
    validation: float = 0.1,
    image_size: tuple[int, int] | None = None,
) -> Dataset:
    """Return the data set ``name``, one of `NAMES`, with ``folder:PATH`` standing for a folder of one's own images.

    ``root`` is the folder that holds the official files, or to which they are downloaded (`default_root`).
    ``validation`` (above 0, at most 0.5) is the share of every class that is held out for validation, and ``seed``
    decides which images these are. ``image_size`` (height, width) resizes the images of ``folder:``; those of the other
    sets can be averaged down to a whole fraction of their size.

    Raises `DataError` for an unknown name, a setting out of its range, and files that are missing, damaged or foreign;
    `MissingPackageError` when the data set needs a package that is not installed.
    """
    if not 0 < validation <= 0.5:
        raise DataError(f"validation is {validation}, it must be above 0 and at most 0.5", "0.1 holds out a tenth")
    if not 0 <= seed < 2**31:
        raise DataError(f"seed {seed} is not in [0, 2147483647]")
    if image_size is not None and min(image_size) < 1:
        raise DataError(f"image_size is {image_size}, it must be (height, width) of at least 1 pixel")
    if name.startswith(_FOLDER):
        from .folder import load_folder

        if not name.removeprefix(_FOLDER):
            raise DataError(f"{name!r} names no folder", "for example folder:./images")
        found = load_folder(Path(name.removeprefix(_FOLDER)).expanduser(), seed, validation, image_size)
        return replace(found, validation_share=validation)
    if name not in _NATIVE_SIZE:
        raise DataError(f"unknown data set {name!r}", nearest(name, NAMES))
    dataset = _load_named(name, root or default_root(), seed, validation)
    if image_size not in (None, _NATIVE_SIZE[name]):
        assert image_size is not None
        dataset = averaged(dataset, image_size)
    return replace(dataset, validation_share=validation)


def default_root() -> Path:
    """``$DEEPREDUCE_DATA``, or ``deepreduce/data`` in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    return data_folder()


def _load_named(name: str, root: Path, seed: int, validation: float) -> Dataset:
    if name == "digits":
        from .digits import load_digits

        return load_digits(seed, validation)
    if name == "tinyimagenet":
        from .tiny_imagenet import load_tiny_imagenet

        return load_tiny_imagenet(root, seed, validation)
    from .cifar import CIFAR10, CIFAR100, load_cifar

    return load_cifar({"cifar10": CIFAR10, "cifar100": CIFAR100}[name], root, seed, validation)
