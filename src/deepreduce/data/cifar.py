"""CIFAR-10 and CIFAR-100 from their official *binary versions* (A. Krizhevsky, 2009), never from pickles.

A file is a plain sequence of records: the label bytes (one for CIFAR-10; coarse, then fine for CIFAR-100), then 3,072
pixels as planes R, G, B of 32 rows of 32. https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError
from .dataset import Dataset, Split, assemble, carve_validation, need_file, read_text, shortfall
from .download import Archive, ensure

SIDE = 32
_PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Cifar:
    """One of the two sets: its files, and the number of classes that each label byte of a record counts.

    The last label byte is the class that is learnt.
    """

    name: str
    folder: str
    url: str
    md5: str
    train_files: tuple[str, ...]
    test_file: str
    names_file: str
    label_classes: tuple[int, ...]
    official_images: tuple[int, int] = (50_000, 10_000)  # training, test

    @property
    def num_classes(self) -> int:
        """Number of classes that are learnt."""
        return self.label_classes[-1]

    @property
    def record_bytes(self) -> int:
        """Length of one record."""
        return len(self.label_classes) + _PIXELS

    def official_bytes(self, file: str) -> int:
        """Length of one of the official files."""
        train, test = self.official_images
        return self.record_bytes * (test if file == self.test_file else train // len(self.train_files))

    @property
    def archive(self) -> Archive:
        """Archive to download when the folder is absent."""
        files = (*self.train_files, self.test_file, self.names_file)
        return Archive(self.url, self.md5, self.folder, lambda path: str(path) in files, ", ".join(files))


CIFAR10 = Cifar(
    name="cifar10",
    folder="cifar-10-batches-bin",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    train_files=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test_file="test_batch.bin",
    names_file="batches.meta.txt",
    label_classes=(10,),
)
CIFAR100 = Cifar(
    name="cifar100",
    folder="cifar-100-binary",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    train_files=("train.bin",),
    test_file="test.bin",
    names_file="fine_label_names.txt",
    label_classes=(20, 100),
)


def load_cifar(cifar: Cifar, root: Path, seed: int = 0, validation: float = 0.1) -> Dataset:
    """``CIFAR10`` or ``CIFAR100`` from ``root / cifar.folder`` (downloaded when absent): images of 3 x 32 x 32.

    ``validation`` is the share of each class's training images that is held out, by ``seed``. Fewer or more images than
    the official set are used and noted. Raises `DataError` for files that are missing, truncated or foreign.
    """
    folder = ensure(cifar.archive, root)
    classes = read_names(need_file(folder / cifar.names_file, "one class name a line"), cifar)
    batches = [read_records(folder / name, cifar) for name in cifar.train_files]
    official = Split(torch.cat([b.images for b in batches]), torch.cat([b.labels for b in batches]))
    test = read_records(folder / cifar.test_file, cifar)
    notices = shortfall(
        cifar.name,
        {"training": len(official), "test": len(test)},
        dict(zip(("training", "test"), cifar.official_images, strict=True)),
    )
    train, held_out = carve_validation(official, validation, seed, cifar.num_classes)
    return assemble(cifar.name, classes, train, held_out, test, notices)


def read_records(path: Path, cifar: Cifar) -> Split:
    """Return all records of one binary file, in order; a length or a label that does not fit raises `DataError`."""
    need_file(path, f"records of {cifar.record_bytes:,} bytes")
    size, length = path.stat().st_size, cifar.record_bytes
    if size == 0 or size % length:
        official = cifar.official_bytes(path.name)
        raise DataError(
            f"{path} has {size:,} bytes, which is not a whole number of records of {length:,} bytes",
            f"truncated? the official file has {official:,}; delete {path.parent} to fetch it again",
        )
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, length)
    for column, classes in enumerate(cifar.label_classes):
        foreign = np.flatnonzero(records[:, column] >= classes)
        if len(foreign):
            first = int(foreign[0])
            raise DataError(
                f"{path}: record {first} has label {records[first, column]}, {cifar.name} has 0..{classes - 1} there",
                "is this the binary version of another data set?",
            )
    labels = len(cifar.label_classes)
    images = np.ascontiguousarray(records[:, labels:]).reshape(-1, 3, SIDE, SIDE)
    return Split(torch.from_numpy(images), torch.from_numpy(records[:, labels - 1].astype(np.int64)))


def read_names(path: Path, cifar: Cifar) -> tuple[str, ...]:
    """Return the class names in label order, one a line; blank lines (CIFAR-10 ends with some) do not count."""
    names = tuple(read_text(path).split())
    if len(names) != cifar.num_classes:
        raise DataError(f"{path} names {len(names)} classes, {cifar.name} has {cifar.num_classes}")
    return names
