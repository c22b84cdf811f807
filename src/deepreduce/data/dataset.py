"""A data set: three splits of images that fit in memory, their classes and their statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError
from ..units import show_count

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std that torchvision's networks are trained with
SMALLEST_STD = 1e-3
TEST_SHARE = 0.1
_TEST_SEED = 0  # not the caller's seed: a test image must not become a training image when the seed changes


@dataclass(frozen=True)
class Split:
    """Images as ``uint8 [n, channels, height, width]`` and labels as ``int64 [n]``."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(f"images must be uint8 [n, c, h, w], got {self.images.dtype} {tuple(self.images.shape)}")
        if self.labels.dtype != torch.int64 or tuple(self.labels.shape) != (len(self.images),):
            raise DataError(f"labels must be int64 [{len(self.images)}], got {tuple(self.labels.shape)}")

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor) -> Split:
        """Return the images at ``indices`` (int64 [m])."""
        return Split(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> Split:
        """Return the same split, resident on ``device``."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test splits; ``validation`` is carved from the official training images.

    ``mean`` and ``std`` are per channel, of the training split, on the 0..1 scale. ``notices`` are sentences the user
    must see (for example: fewer images than the official set). ``validation_share`` is the share of the training images
    that was asked for, None where the splits were given.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notices: tuple[str, ...] = ()
    validation_share: float | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return int(channels), int(height), int(width)

    def normalized(self, mean: Sequence[float], std: Sequence[float]) -> Dataset:
        """Return the same images with another normalization: ``mean`` and ``std`` of the 0..1 scale, by channel or one
        for all. It is that of a network that was trained elsewhere.

        Raises `DataError` for another number of values, or values out of their range.
        """
        channels = self.input_shape[0]
        return replace(
            self,
            mean=by_channel("mean", mean, channels),
            std=by_channel("std", std, channels),
        )

    @property
    def images_per_class(self) -> dict[str, tuple[int, ...]]:
        """Number of images of each class, in the order of ``classes``, by split."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        most = len(self.classes)
        return {name: tuple(torch.bincount(split.labels, minlength=most).tolist()) for name, split in splits.items()}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every image, label and statistic: two data sets with one digest train alike."""
        state = hashlib.sha256(repr((len(self.classes), self.mean, self.std)).encode())
        for split in (self.train, self.validation, self.test):
            state.update(repr(tuple(split.images.shape)).encode())
            state.update(split.images.contiguous().numpy().data)
            state.update(split.labels.contiguous().numpy().data)
        return state.hexdigest()


def by_channel(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return the "mean" or "std" (``name``) of each channel, from as many values or from one for all.

    Raises `DataError` for another number of values, or values out of their range.
    """
    least = SMALLEST_STD if name == "std" else 0.0
    if len(values) not in (1, channels):
        raise DataError(
            f"{name} has {len(values)} values, the images have {channels} {'channel' if channels == 1 else 'channels'}",
            "give one for each channel, or one for all",
        )
    for value in values:
        if not least <= value <= 1:
            raise DataError(
                f"{name} {value:g} is not in [{least:g}, 1]",
                "it is of pixels between 0 and 1: divide by 255 what is of pixels between 0 and 255",
            )
    return tuple(float(value) for value in (values if len(values) == channels else [values[0]] * channels))


def assemble(
    name: str,
    classes: tuple[str, ...],
    train: Split,
    validation: Split,
    test: Split,
    notices: tuple[str, ...] = (),
) -> Dataset:
    """Return a `Dataset` with the mean and standard deviation of its training split filled in."""
    mean, std = channel_statistics(train.images)
    return Dataset(name, classes, train, validation, test, mean, std, notices)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and standard deviation of uint8 [n, c, h, w], on the 0..1 scale, exact (from histograms)."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].reshape(-1).int(), minlength=256).double()
        share = counts / counts.sum()
        mean = float((share * levels).sum())
        means.append(mean)
        stds.append(max(float((share * (levels - mean) ** 2).sum()) ** 0.5, SMALLEST_STD))
    return tuple(means), tuple(stds)


def divide(name: str, classes: tuple[str, ...], splits: dict[str, Split], validation: float, seed: int) -> Dataset:
    """Return the data set of ``splits``: ``train`` with ``test``, ``validation`` or both, or all images as ``""``.

    Of all images a tenth of each class becomes the test split, always the same. Without a test split the validation
    split, which is what others report for such data (ImageNet), takes its place, with a notice. ``validation`` is the
    share of each class that is held out by ``seed`` where there is no validation split: of the training images, or of
    all images. Raises `DataError` naming a class that is too small to be divided.
    """
    splits, notices = dict(splits), []
    if "" not in splits and "test" not in splits:
        splits["test"] = splits.pop("validation")
        notices.append(
            f"{name} has no test split: its {show_count(len(splits['test']), 'validation image')} are the test split, "
            f"and {validation:.3g} of the training images of each class are held out for validation"
        )
    if "" in splits:
        _need_images(splits[""], classes, 3, name)
        splits["train"], splits["test"] = carve_validation(splits.pop(""), TEST_SHARE, _TEST_SEED, len(classes))
        validation /= 1 - TEST_SHARE
    if "validation" not in splits:
        _need_images(splits["train"], classes, 2, name)
        splits["train"], splits["validation"] = carve_validation(splits["train"], validation, seed, len(classes))
    return assemble(name, classes, splits["train"], splits["validation"], splits["test"], tuple(notices))


def _need_images(split: Split, classes: tuple[str, ...], least: int, name: str) -> None:
    """Raise a `DataError` naming the first class with fewer than ``least`` images to divide among the splits."""
    for label, count in zip(classes, torch.bincount(split.labels, minlength=len(classes)).tolist(), strict=True):
        if count < least:
            raise DataError(
                f"class {label!r} of {name} has {show_count(count, 'image')}, dividing them needs at least {least}",
                "better 20 or more",
            )


def carve_validation(split: Split, fraction: float, seed: int, num_classes: int) -> tuple[Split, Split]:
    """Split off ``fraction`` of every class as `hold_out` does: (train, validation), both in order."""
    held_out = hold_out(split.labels, fraction, seed, num_classes)
    return split.take((~held_out).nonzero().squeeze(1)), split.take(held_out.nonzero().squeeze(1))


def hold_out(labels: Tensor, fraction: float, seed: int, num_classes: int) -> Tensor:
    """Return which of ``labels`` (int64 [n]) to hold out, seeded: bool [n], ``fraction`` of every class (rounded, at
    least 1).

    Raises `DataError` when a class is too small to appear on both sides.
    """
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(num_classes):
        members = (labels == label).nonzero().squeeze(1)
        if len(members) < 2:
            raise DataError(
                f"class {label} has {show_count(len(members), 'training image')}",
                "each class needs at least 2, better 20",
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held_out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return held_out


def shortfall(name: str, found: dict[str, int], official: dict[str, int]) -> tuple[str, ...]:
    """Return a notice for each split whose number of images is not the official one (both given by split)."""
    return tuple(
        f"{name}: {found[split]:,} {split} images instead of the official {count:,}"
        for split, count in official.items()
        if found[split] != count
    )


def need_file(path: Path, expected: str) -> Path:
    """``path`` if it is a readable file, else a `DataError` that names it and says what was expected there."""
    if not path.is_file():
        raise DataError(f"{path} is missing", f"expected {expected}")
    return path


def read_text(path: Path) -> str:
    """Return the text of a file, or a `DataError` when it is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as text: {error}", "is it the official file?") from error
