"""Anyone's images, sorted into one folder per class.

Either ``PATH/train/<class>`` with ``PATH/test/<class>``, ``PATH/val/<class>`` or both (val alone is the test split);
or just ``PATH/<class>``, of which a tenth of every class becomes the test split. All images in a class's folder and the
folders inside of it belong to the class. What is hidden is passed over; a notice says what else is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import DataError
from ..pictures import KINDS, SUFFIXES, UndecodableError, files_below
from ..units import show_count
from .dataset import Dataset, Split, divide
from .decode import Header, check, decode, read_headers

_LAYOUT = "expected PATH/train/<class>/*.png and PATH/test/<class>/*.png, or PATH/<class>/*.png"
_SPLIT_OF = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "validation", "valid": "validation", "validation": "validation",
}  # fmt: skip

Labeled = list[tuple[Path, int]]


def load_folder(
    path: Path, seed: int = 0, validation: float = 0.1, image_size: tuple[int, int] | None = None
) -> Dataset:
    """Return the images under ``path``: RGB, or of one channel when every one of them is grey, classes in order of
    name.

    Images are resized to ``image_size`` (height, width), which may be left out when all have one size. Where there is
    no validation split, ``validation`` is the share of each class that is held out, by ``seed``: of the training
    images, or of all images when there is no test split either. Raises `DataError` for a folder of another layout,
    splits whose classes differ, and files that cannot be decoded.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder", _LAYOUT)
    folders = split_folders(path)
    classes = common_classes(folders or {"": path})
    listed: dict[str, Labeled] = {}
    others: list[Path] = []
    for split, folder in (folders or {"": path}).items():
        listed[split], passed = labeled_files(folder, classes)
        others += passed
    try:
        splits = _decoded(listed, image_size)
    except UndecodableError:
        check([file for files in listed.values() for file, _ in files])  # names all such files, of all splits
        raise
    dataset = divide(f"folder:{path}", classes, splits, validation, seed)
    return replace(dataset, notices=(*dataset.notices, *_passed_over(path, folders, others)))


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
    """Return the folders of the splits by ``train``, ``validation`` and ``test``; empty when ``path`` holds classes.

    Only folders of folders are splits: a class may be called train.
    """
    named: dict[str, list[Path]] = {split: [] for split in ("train", "validation", "test")}
    inside = _folders(path)
    for folder in inside:
        if split := _SPLIT_OF.get(folder.name.lower()):
            named[split].append(folder)
    found = {split: folders for split, folders in named.items() if any(map(_holds_classes, folders))}
    if not found or (len(found) == 1 and len(inside) > sum(map(len, named.values()))):
        return {}
    if "train" not in found or len(found) == 1:
        present = next(iter(found.values()))[0].name
        missing = "'test' or 'val'" if "train" in found else "'train'"
        raise DataError(f"{path} has a folder {present!r} but no folder {missing} of class folders", _LAYOUT)
    for folders in named.values():
        if len(folders) > 1:
            names = " and a folder ".join(repr(folder.name) for folder in folders)
            raise DataError(f"{path} has both a folder {names}", "remove one of them")
        if folders and not _holds_classes(folders[0]):
            raise DataError(f"{folders[0]} is not a folder of class folders, as {path}'s other splits are", _LAYOUT)
    return {split: folders[0] for split, folders in found.items()}


def _folders(path: Path) -> list[Path]:
    inside = [one for one in path.iterdir() if not one.name.startswith(".")]
    for one in inside:
        if one.is_symlink() and not one.exists():
            raise DataError(f"{one} is a link that leads nowhere", "mend or remove it")
    return sorted(one for one in inside if one.is_dir())


def _images_in(folder: Path) -> list[Path]:
    """Return the images of the folder itself."""
    return [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]


def _holds_classes(folder: Path) -> bool:
    return bool(_folders(folder)) and not _images_in(folder)


def common_classes(folders: dict[str, Path]) -> tuple[str, ...]:
    """Return the class folders, which all splits must have in common, by name."""
    found = {split: {inside.name for inside in _folders(folder)} for split, folder in folders.items()}
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


def labeled_files(folder: Path, classes: tuple[str, ...]) -> tuple[Labeled, list[Path]]:
    """Return every image of every class with its label, and the files of other kinds.

    Raises `DataError` naming a class that has no images.
    """
    files: Labeled = []
    others: list[Path] = []
    for label, name in enumerate(classes):
        found, passed = files_below(folder / name)
        if not found:
            kinds = f", but files {_kinds(passed)}" if passed else ""
            raise DataError(
                f"{folder / name} holds no images ({KINDS}){kinds}", "add some, or remove the folder in every split"
            )
        files += [(file, label) for file in found]
        others += passed
    return files, others


def _passed_over(path: Path, splits: dict[str, Path], others: list[Path]) -> list[str]:
    """Return notices about what looks as if it belonged to the data."""
    notices = []
    if others:
        notices.append(f"{path}: {show_count(len(others), 'file')} not read, not {KINDS}: {_kinds(others)}")
    loose = [image for folder in {path, *splits.values()} for image in _images_in(folder)]
    if loose:
        notices.append(
            f"{path}: {show_count(len(loose), 'image')} not read, in no class's folder: {_few(map(str, loose))}"
        )
    if splits and (beside := [folder.name for folder in _folders(path) if folder not in splits.values()]):
        notices.append(f"{path}: folders not read, not a split: {_few(beside)}")
    return notices


def _kinds(files: list[Path]) -> str:
    return _few({file.suffix.lower() or file.name for file in files})


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
