"""Data sets from outside: CIFAR's binary files, Tiny ImageNet's folders, folders of pictures, snapshots."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from deepreduce.data import snapshot
from deepreduce.data.cifar import CIFAR10, CIFAR100, load_cifar, read_records
from deepreduce.data.dataset import Split, assemble
from deepreduce.data.folder import load_folder
from deepreduce.data.tiny_imagenet import load_tiny_imagenet
from fuzz.edits import joined, parts
from fuzz.mutators import safetensors_mutator
from fuzz.scratch import scratch, written
from fuzz.target import target

SMALL = replace(CIFAR10, label_classes=(2,), train_files=("data_batch_1.bin",))


def record(cifar: object, label: int, level: int) -> bytes:
    """One image of one level."""
    return bytes([label] * len(cifar.label_classes)) + bytes([level]) * 3072  # type: ignore[attr-defined]


def cifar_seeds() -> Iterator[bytes]:
    good = b"".join(record(SMALL, label, 40 * label) for label in (0, 1, 0, 1))
    yield joined(b"", b"cat dog\n", good)
    yield joined(b"", b"cat dog\n", good[:-1])
    yield joined(b"", b"cat\n", record(SMALL, 9, 0))
    yield joined(b"", b"\xff\xfe\n", good)
    yield joined(b"\1", b"", record(CIFAR100, 3, 200))


@target(cifar_seeds, memory_mb=64, most_bytes=16_000)
def cifar(data: bytes) -> None:
    """Records and names; every pixel is where it was."""
    which, names, records = parts(data, 3)
    if which:
        path = written("train.bin", records)
        split = read_records(path, CIFAR100)
        assert split.images.numpy().tobytes() == b"".join(
            records[at + 2 : at + 3074] for at in range(0, len(records), 3074)
        )
        return
    for file in (*SMALL.train_files, SMALL.test_file):
        written(f"{SMALL.folder}/{file}", records)
    written(f"{SMALL.folder}/{SMALL.names_file}", names)
    dataset = load_cifar(SMALL, scratch())
    assert len(dataset.classes) == 2
    assert dataset.test.images.numpy().tobytes() == b"".join(
        records[at + 1 : at + 3073] for at in range(0, len(records), 3073)
    )


def pixels(size: tuple[int, int], form: str, mode: str = "RGB") -> bytes:
    """A picture file."""
    from PIL import Image

    out = io.BytesIO()
    Image.new(mode, size).save(out, form)
    return out.getvalue()


def tiny_seeds() -> Iterator[bytes]:
    good = pixels((64, 64), "JPEG")
    yield joined(b"n1\nn2\n", b"n1\tcat, felis\nn2\tdog\n", b"a.JPEG\tn1\t0 0 9 9\n", good)
    yield joined(b"n1\nn2\n", b"", b"a.JPEG\tn3\n", good)
    yield joined(b"n1\n\xff\n", b"\xff\xfe", b"\xff", good)
    yield joined(b"n1 " + b"n" * 300, b"", b"a n1", good)
    yield joined(b"n1 n2", b"", b"\0.JPEG n1", good)
    yield joined(b"n1 n2", b"", b"../../n1 n1", pixels((63, 64), "PNG"))


@target(tiny_seeds, memory_mb=64, most_bytes=8192)
def tiny_imagenet(data: bytes) -> None:
    """Its three lists, and one picture that stands for all."""
    wnids, words, annotations, content = parts(data, 4)
    root = scratch() / "tiny-imagenet-200"
    if not root.exists():
        for place in (
            "train/n1/images/0.JPEG",
            "train/n1/images/1.JPEG",
            "train/n2/images/0.JPEG",
            "train/n2/images/1.JPEG",
        ):
            written(f"tiny-imagenet-200/{place}", b"")
    for path in root.glob("train/*/images/*"):
        path.write_bytes(content)
    written("tiny-imagenet-200/val/images/a.JPEG", content)
    written("tiny-imagenet-200/val/val_annotations.txt", annotations)
    written("tiny-imagenet-200/wnids.txt", wnids)
    written("tiny-imagenet-200/words.txt", words)
    dataset = load_tiny_imagenet(scratch())
    assert dataset.input_shape == (3, 64, 64)


FORMS = ("png", "jpg", "bmp", "gif", "ppm", "pgm", "webp")  # files are read by what they hold


def folder_seeds() -> Iterator[bytes]:
    for number, form in enumerate(("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")):
        yield bytes([number]) + pixels((4, 3), form)
    yield bytes([0]) + pixels((4, 3), "PNG", "L")
    yield bytes([128]) + pixels((9, 3), "PNG", "P")


@target(folder_seeds, memory_mb=768, most_bytes=4096)
def folder(data: bytes) -> None:
    """A user's folder in which one picture is damaged."""
    if not data:
        return
    place = scratch() / "folder"
    shutil.rmtree(place, ignore_errors=True)
    for name in ("cat", "dog"):
        for number in range(3):
            written(f"folder/{name}/{number}.png", _good())
    Path(place, "dog", f"3.{FORMS[data[0] % 128 % len(FORMS)]}").write_bytes(data[1:])
    dataset = load_folder(place, image_size=(3, 4) if data[0] >= 128 else None)
    assert sum(len(split) for split in (dataset.train, dataset.validation, dataset.test)) == 7


def _good() -> bytes:
    return pixels((4, 3), "PNG")


def snapshot_seeds() -> Iterator[bytes]:
    splits = [
        Split(torch.arange(12, dtype=torch.uint8).reshape(3, 1, 2, 2) + n, torch.tensor([0, 1, 0])) for n in range(3)
    ]
    path = scratch() / "seed.safetensors"
    snapshot.save(assemble("name", ("a", "b"), *splits), path)
    yield path.read_bytes()


@target(snapshot_seeds, memory_mb=64, mutate=safetensors_mutator)
def data_snapshot(data: bytes) -> None:
    """A data set as workers read it."""
    found = snapshot.restore(written("data.safetensors", data))
    assert isinstance(found.digest, str)
    assert np.isfinite(found.mean).all()
