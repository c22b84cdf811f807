"""Anyone's images, sorted into one folder per class.

Either ``PATH/train/<class>/*`` and ``PATH/test/<class>/*``, perhaps with ``PATH/validation`` or ``PATH/val`` too;
or just ``PATH/<class>/*``, of which a tenth of every class becomes the test split. Hidden files and files that are no
images are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from ..errors import DataError
from ..units import show_count
from .dataset import Dataset, Split, divide
from .decode import Header, UndecodableError, check, decode, image_files, read_headers

_LAYOUT = "expected PATH/train/<class>/*.png and PATH/test/<class>/*.png, or PATH/<class>/*.png"

Labeled = list[tuple[Path, int]]


def load_folder(
    path: Path, seed: int = 0, validation: float = 0.1, image_size: tuple[int, int] | None = None
) -> Dataset:
    """Return the images under ``path``: RGB, or of one channel when every one of them is grey, classes in order of
    name.

    Images are resized to ``image_size`` (height, width), which may be left out when all have one size. Where there is
    no validation folder, ``validation`` is the share of each class that is held out, by ``seed``: of the training
    images, or of all images when there is no test folder either. Raises `DataError` for a folder of another layout,
    splits whose classes differ, and files that cannot be decoded.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder", _LAYOUT)
    folders = split_folders(path)
    classes = common_classes(folders or {"": path})
    listed = {split: labeled_files(folder, classes) for split, folder in (folders or {"": path}).items()}

    try:
        splits = _decoded(listed, image_size)
    except UndecodableError:
        check([file for files in listed.values() for file, _ in files])  # names all such files, of all splits
        raise
    return divide(f"folder:{path}", classes, splits, validation, seed)


def _decoded(listed: dict[str, Labeled], image_size: tuple[int, int] | None) -> dict[str, Split]:
    everything = [file for files in listed.values() for file, _ in files]
    headers = read_headers(everything)
    height, width = image_size or common_size(everything, headers)
    channels = 1 if all(header.grey for header in headers) else 3

    def read(files: Labeled) -> Split:
        images = decode([file for file, _ in files], height, width, channels, resize=True)
        return Split(images, torch.tensor([label for _, label in files]))

    return {split: read(files) for split, files in listed.items()}


def split_folders(path: Path) -> dict[str, Path]:
    """Return the folders of the splits by ``train``, ``validation`` and ``test``; empty when ``path`` holds classes."""
    names = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
    present = {split: [path / name for name in options if (path / name).is_dir()] for split, options in names.items()}
    if not present["train"] and not present["test"]:
        return {}
    for split in ("train", "test"):
        if not present[split]:
            other = "test" if split == "train" else "train"
            raise DataError(f"{path} has a folder {other!r} but no folder {split!r}", _LAYOUT)
    if len(present["validation"]) > 1:
        raise DataError(f"{path} has both a folder 'validation' and a folder 'val'", "remove one of them")
    return {split: folders[0] for split, folders in present.items() if folders}


def common_classes(folders: dict[str, Path]) -> tuple[str, ...]:
    """Return the class folders, which all splits must have in common, by name."""
    found = {
        split: {f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")}
        for split, folder in folders.items()
    }
    first, *others = found
    for other in others:
        for here, there in ((first, other), (other, first)):
            if extra := found[here] - found[there]:
                raise DataError(
                    f"{folders[here]} has classes that {folders[there]} lacks: {_few(extra)}",
                    "every split needs the same class folders",
                )
    if len(found[first]) < 2:
        raise DataError(
            f"{folders[first]} holds {show_count(len(found[first]), 'class folder')}, at least 2 are needed", _LAYOUT
        )
    return tuple(sorted(found[first]))


def labeled_files(folder: Path, classes: tuple[str, ...]) -> Labeled:
    """Return every image of every class with its label. Raises `DataError` naming a class that has none."""
    files: Labeled = []
    for label, name in enumerate(classes):
        found = image_files(folder / name)
        if not found:
            raise DataError(f"{folder / name} holds no images", "add some, or remove the folder in every split")
        files += [(file, label) for file in found]
    return files


def common_size(files: list[Path], headers: list[Header]) -> tuple[int, int]:
    """Return the (height, width) of all images, which a `DataError` asks for when they differ."""
    height, width = headers[0].height, headers[0].width
    for file, header in zip(files, headers, strict=True):
        if (header.height, header.width) != (height, width):
            raise DataError(
                f"the images differ in size: {files[0]} is {width}x{height} (width x height), "
                f"{file} is {header.width}x{header.height}",
                "give the size that they are to have: `image_size`",
            )
    return height, width


def _few(names: Iterable[str], most: int = 5) -> str:
    listed = sorted(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
