"""Tiny ImageNet (Stanford CS231n, 2015) from its official folder form: 200 classes, RGB images of 64x64.

    tiny-imagenet-200/wnids.txt                        the classes, in label order
    tiny-imagenet-200/words.txt                        their names
    tiny-imagenet-200/train/<wnid>/images/*.JPEG       500 images each
    tiny-imagenet-200/val/val_annotations.txt          <file> <wnid> <bounding box>, for the files in val/images

The labels of the official test images were never published, so the official validation images are the test split, as
is usual, and validation images are carved from the training images.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ..errors import DataError
from ..pictures import files_below
from .dataset import Dataset, Split, assemble, carve_validation, need_file, read_text, shortfall
from .decode import decode
from .download import Archive, ensure

NAME = "tinyimagenet"
SIDE = 64
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # of a class or a file
OFFICIAL_IMAGES = {"training": 100_000, "test": 10_000}
ARCHIVE = Archive(
    url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    md5="90528d7ca1a48142e341f4ef8d21d0de",
    folder="tiny-imagenet-200",
    wanted=lambda path: path.parts[0] in ("wnids.txt", "words.txt", "train", "val"),
    listing="wnids.txt, words.txt, train/<wnid>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt",
)


def load_tiny_imagenet(root: Path, seed: int = 0, validation: float = 0.1) -> Dataset:
    """Tiny ImageNet from ``root / "tiny-imagenet-200"`` (downloaded when absent): images of 3 x 64 x 64.

    ``validation`` is the share of each class's training images that is held out, by ``seed``. Fewer or more images than
    the official set are used and noted. Raises `DataError` for files that are missing, undecodable or of another size.
    """
    folder = ensure(ARCHIVE, root)
    wnids = _wnids(need_file(folder / "wnids.txt", "one WordNet id a line"))
    official = _read(training_files(folder, wnids))
    test = _read(annotated_files(folder, wnids))
    notices = shortfall(NAME, {"training": len(official), "test": len(test)}, OFFICIAL_IMAGES)
    train, held_out = carve_validation(official, validation, seed, len(wnids))
    return assemble(NAME, class_names(folder, wnids), train, held_out, test, notices)


def training_files(folder: Path, wnids: list[str]) -> list[tuple[Path, int]]:
    """Return every training image with its label, class after class. Raises `DataError` naming a class that has
    none.
    """
    files = []
    for label, wnid in enumerate(wnids):
        images = folder / "train" / wnid / "images"
        found = files_below(images)[0] if images.is_dir() else []
        if not found:
            raise DataError(f"{images} holds no images", f"expected the training images of class {wnid}")
        files += [(path, label) for path in found]
    return files


def annotated_files(folder: Path, wnids: list[str]) -> list[tuple[Path, int]]:
    """Return every annotated image of the official validation set with its label, in the order of the annotations."""
    annotations = need_file(folder / "val" / "val_annotations.txt", "lines of <file> <wnid> <bounding box>")
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    files = []
    for number, line in enumerate(read_text(annotations).splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split()
        if len(fields) < 2 or fields[1] not in label_of or not _NAME.fullmatch(fields[0]):
            raise DataError(
                f"{annotations}, line {number}: {line!r:.200}", "expected <file> <wnid> ..., with a wnid of wnids.txt"
            )
        files.append((annotations.parent / "images" / fields[0], label_of[fields[1]]))
    if not files:
        raise DataError(f"{annotations} is empty")
    return files


def class_names(folder: Path, wnids: list[str]) -> tuple[str, ...]:
    """Return the first name of each class ("goldfish" of "goldfish, Carassius auratus"), or its wnid if words.txt has
    none.
    """
    words = read_text(need_file(folder / "words.txt", "lines of <wnid> <names>"))
    entries = dict(line.split("\t", 1) for line in words.splitlines() if "\t" in line)
    return tuple(entries.get(wnid, wnid).split(",")[0].strip() for wnid in wnids)


def _wnids(path: Path) -> list[str]:
    """Return the ids, each of which is the name of a folder: nothing in a list may lead elsewhere."""
    wnids = read_text(path).split()
    for wnid in wnids:
        if not _NAME.fullmatch(wnid):
            raise DataError(f"{path} names the class {wnid!r:.80}", "expected one WordNet id a line, as n01443537")
    if not wnids:
        raise DataError(f"{path} is empty")
    return wnids


def _read(files: list[tuple[Path, int]]) -> Split:
    images = decode([path for path, _ in files], SIDE, SIDE, channels=3)
    return Split(images, torch.tensor([label for _, label in files]))
