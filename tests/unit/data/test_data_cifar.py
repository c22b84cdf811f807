"""CIFAR binary files, the names that `load` knows, and fetching archives."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import io
import os
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from deepreduce.data import NAMES, cifar, default_root, load
from deepreduce.data.cifar import CIFAR10, CIFAR100, Cifar, load_cifar
from deepreduce.data.dataset import carve_validation
from deepreduce.errors import DataError, MissingPackageError

BOTH = pytest.mark.parametrize("kind", [CIFAR10, CIFAR100], ids=lambda kind: kind.name)


def records(kind: Cifar, per_class: int, seed: int) -> np.ndarray:
    """Random pixels, every class ``per_class`` times, in random order."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (per_class * kind.num_classes, kind.record_bytes), dtype=np.uint8)
    rows[:, : len(kind.label_classes)] %= np.array(kind.label_classes, dtype=np.uint8)
    rows[:, len(kind.label_classes) - 1] = rng.permutation(np.arange(len(rows)) % kind.num_classes)
    return rows


def write(kind: Cifar, root: Path, per_class: int = 4) -> Path:
    """A small set in the official form under ``root``; returns its folder."""
    folder = root / kind.folder
    folder.mkdir(parents=True)
    for number, name in enumerate((*kind.train_files, kind.test_file)):
        records(kind, per_class, seed=number).tofile(folder / name)
    (folder / kind.names_file).write_text("".join(f"name{label}\n" for label in range(kind.num_classes)) + "\n\n")
    return folder


@BOTH
def test_pixels_and_labels_are_those_of_the_files(kind: Cifar, tmp_path: Path) -> None:
    folder = write(kind, tmp_path)
    dataset = load(kind.name, root=tmp_path, validation=0.25)
    rows = np.fromfile(folder / kind.test_file, dtype=np.uint8).reshape(-1, kind.record_bytes)
    first = len(kind.label_classes)
    assert dataset.test.labels.tolist() == rows[:, first - 1].tolist()
    # Row y, column x of plane c lies at c * 1024 + y * 32 + x.
    assert dataset.test.images[5, 2, 7, 30].item() == rows[5, first + 2 * 1024 + 7 * 32 + 30]
    assert dataset.classes[:2] == ("name0", "name1")
    assert dataset.input_shape == (3, 32, 32)
    assert len(dataset.train) + len(dataset.validation) == 4 * kind.num_classes * len(kind.train_files)


@BOTH
def test_validation_is_balanced_disjoint_and_seeded(kind: Cifar, tmp_path: Path) -> None:
    write(kind, tmp_path)
    first, again, other = (load_cifar(kind, tmp_path, seed, 0.25) for seed in (0, 0, 1))
    per_class = len(kind.train_files)
    assert torch.bincount(first.validation.labels).tolist() == [per_class] * kind.num_classes
    rows = [{image.numpy().tobytes() for image in split.images} for split in (first.train, first.validation)]
    assert not rows[0] & rows[1]
    assert len(rows[0] | rows[1]) == len(first.train) + len(first.validation)
    assert first.digest == again.digest
    assert first.digest != other.digest
    assert torch.equal(first.test.images, other.test.images)


def test_fewer_images_are_used_and_noted(tmp_path: Path) -> None:
    write(CIFAR100, tmp_path)
    assert load("cifar100", root=tmp_path).notices == (
        "cifar100: 400 training images instead of the official 50,000",
        "cifar100: 400 test images instead of the official 10,000",
    )


def test_the_official_number_of_images_needs_no_notice(tmp_path: Path) -> None:
    write(CIFAR100, tmp_path)
    as_official = dataclasses.replace(CIFAR100, official_images=(400, 400))
    assert load_cifar(as_official, tmp_path).notices == ()


@BOTH
@pytest.mark.parametrize("cut", [1, 3000])
def test_a_truncated_file_is_named_with_its_size(kind: Cifar, tmp_path: Path, cut: int) -> None:
    file = write(kind, tmp_path) / kind.train_files[-1]
    whole = file.stat().st_size
    os.truncate(file, whole - cut)
    with pytest.raises(DataError) as caught:
        load(kind.name, root=tmp_path)
    assert str(file) in caught.value.message
    assert f"{whole - cut:,} bytes" in caught.value.message
    assert f"{kind.record_bytes * 50_000 // len(kind.train_files):,}" in caught.value.hint


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (write(CIFAR100, tmp_path) / "test.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"test\.bin has 0 bytes"):
        load("cifar100", root=tmp_path)


@pytest.mark.parametrize(("column", "value", "classes"), [(0, 20, 20), (1, 100, 100)])
def test_a_foreign_label_is_named_with_its_record(tmp_path: Path, column: int, value: int, classes: int) -> None:
    file = write(CIFAR100, tmp_path) / "train.bin"
    rows = np.fromfile(file, dtype=np.uint8).reshape(-1, 3074)
    rows[17, column] = value
    rows.tofile(file)
    with pytest.raises(DataError, match=rf"train\.bin: record 17 has label {value}, cifar100 has 0\.\.{classes - 1}"):
        load("cifar100", root=tmp_path)


@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin", "batches.meta.txt"])
def test_a_missing_file_in_a_present_folder_is_named(tmp_path: Path, name: str) -> None:
    (write(CIFAR10, tmp_path) / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        load("cifar10", root=tmp_path)


def test_wrong_number_of_names(tmp_path: Path) -> None:
    (write(CIFAR10, tmp_path) / "batches.meta.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match="names 2 classes, cifar10 has 10"):
        load("cifar10", root=tmp_path)


def test_existing_files_need_torch_and_numpy_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(CIFAR10, tmp_path)
    for package in ("pooch", "PIL", "sklearn", "safetensors"):
        monkeypatch.setitem(sys.modules, package, None)
    assert len(load("cifar10", root=tmp_path).test) == 40


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def tar_of(folder: Path, target: Path, *, hostile: bool = False) -> None:
    with tarfile.open(target, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
        if hostile:
            for name in (
                "../escaped.bin",
                f"{folder.name}/../../escaped.bin",
                f"{folder.name}/unread.html",
                "/escaped.bin",
            ):
                member = tarfile.TarInfo(name)
                member.size = 4
                tar.addfile(member, io.BytesIO(b"evil"))
            link = tarfile.TarInfo(f"{folder.name}/test.bin")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)


def test_an_absent_set_is_fetched_and_only_its_files_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar_of(write(CIFAR100, tmp_path / "origin"), tmp_path / "published.tar.gz", hostile=True)
    asked = []

    def retrieve(url: str, known_hash: str, fname: str, path: Path) -> str:
        asked.append((url, known_hash))
        (path / fname).write_bytes((tmp_path / "published.tar.gz").read_bytes())
        return str(path / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    root = tmp_path / "new" / "root"
    fetched = load("cifar100", root=root)
    assert asked == [(CIFAR100.url, f"md5:{CIFAR100.md5}")]
    assert sorted(p.name for p in root.rglob("*")) == [
        "cifar-100-binary",
        "fine_label_names.txt",
        "test.bin",
        "train.bin",
    ]
    assert not list(tmp_path.rglob("escaped*"))
    assert fetched.digest == load("cifar100", root=tmp_path / "origin").digest
    load("cifar100", root=root)
    assert len(asked) == 1, "a second load fetches nothing"


def test_a_download_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pooch itself and a server of our own: a wrong checksum leaves nothing behind, the right one is unpacked."""
    archive = tmp_path / "origin" / "published.tar.gz"
    tar_of(write(CIFAR10, archive.parent), archive)
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    root = tmp_path / "root"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    handler = functools.partial(QuietHandler, directory=str(archive.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kind = dataclasses.replace(CIFAR10, url=f"http://127.0.0.1:{server.server_port}/{archive.name}", md5=digest)
        with pytest.raises(DataError, match=r"failed: .*hash"):
            load_cifar(dataclasses.replace(kind, md5="0" * 32), root)
        assert list(root.iterdir()) == []
        with pytest.raises(DataError, match=r"failed: 404"):
            load_cifar(dataclasses.replace(kind, url=kind.url + ".gone"), root)
        assert len(load_cifar(kind, root).test) == 40
        server.shutdown()
    assert [path.name for path in root.iterdir()] == ["cifar-10-batches-bin"]


@pytest.mark.parametrize("failure", [OSError("no route to host"), ValueError("MD5 hash does not match")])
def test_a_failed_download_says_what_to_fetch_and_where_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def retrieve(*_: object, **__: object) -> str:
        raise failure

    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(DataError) as caught:
        load("cifar10", root=tmp_path)
    text = str(caught.value)
    for part in (
        str(tmp_path / "cifar-10-batches-bin"),
        str(failure),
        CIFAR10.url,
        "data_batch_5.bin",
        "DEEPREDUCE_DATA",
    ):
        assert part in text
    assert not (tmp_path / "cifar-10-batches-bin").exists()


def test_an_archive_that_holds_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    tar_of(tmp_path / "other", tmp_path / "other.tar.gz")
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: str(tmp_path / "other.tar.gz"))
    with pytest.raises(DataError, match="holds no cifar-10-batches-bin/"):
        load("cifar10", root=tmp_path)


def test_without_pooch_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingPackageError, match=r"deepreduce\[search\].*cifar-10-binary\.tar\.gz"):
        load("cifar10", root=tmp_path)


def test_unknown_names_get_the_nearest_one() -> None:
    with pytest.raises(DataError, match=r"unknown data set 'cifar-100' \(did you mean 'cifar100'\?\)"):
        load("cifar-100")
    with pytest.raises(DataError) as caught:
        load("xyz")
    assert all(name in caught.value.hint for name in NAMES)


@pytest.mark.parametrize("validation", [0.0, -0.1, 0.51, float("nan")])
def test_validation_out_of_range(validation: float) -> None:
    with pytest.raises(DataError, match=r"above 0 and at most 0.5"):
        load("digits", validation=validation)


def test_images_are_averaged_to_whole_fractions_of_their_size(tmp_path: Path) -> None:
    write(CIFAR10, tmp_path)
    native = load("cifar10", root=tmp_path, image_size=(32, 32))
    assert native.digest == load("cifar10", root=tmp_path).digest
    half = load("cifar10", root=tmp_path, image_size=(16, 16))
    blocks = native.train.images.double().unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    assert (half.train.images.double() - blocks).abs().max() <= 0.5
    assert half.input_shape == (3, 16, 16) and half.test.labels.equal(native.test.labels)
    assert "averaged from 32x32 to 16x16" in half.notices[-1]
    assert half.mean != native.mean or half.std != native.std  # statistics of the images as they are now
    for size in ((12, 16), (64, 64)):
        with pytest.raises(DataError, match=r"cifar10: images of 32x32 cannot be averaged"):
            load("cifar10", root=tmp_path, image_size=size)


def test_default_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPREDUCE_DATA", str(tmp_path / "mine"))
    assert default_root() == tmp_path / "mine"
    monkeypatch.delenv("DEEPREDUCE_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "deepreduce" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".cache" / "deepreduce" / "data"


def test_a_class_too_small_to_carve(tmp_path: Path) -> None:
    write(CIFAR100, tmp_path, per_class=1)
    with pytest.raises(DataError, match=r"class 0 has 1 training image"):
        load("cifar100", root=tmp_path)


def test_carving_keeps_the_order_of_the_files(tmp_path: Path) -> None:
    split = cifar.read_records(write(CIFAR10, tmp_path) / "data_batch_1.bin", CIFAR10)
    train, _ = carve_validation(split, 0.5, seed=3, num_classes=10)
    position = {image.numpy().tobytes(): index for index, image in enumerate(split.images)}
    order = [position[image.numpy().tobytes()] for image in train.images]
    assert order == sorted(order)


@BOTH
def test_the_real_files(kind: Cifar) -> None:
    if not (default_root() / kind.folder).is_dir():
        pytest.skip(f"no {kind.folder} in {default_root()}")
    dataset = load(kind.name)
    per_class = 45_000 // kind.num_classes
    assert dataset.notices == ()
    assert torch.bincount(dataset.train.labels).tolist() == [per_class] * kind.num_classes
    assert (len(dataset.validation), len(dataset.test)) == (5_000, 10_000)
    assert dataset.classes[0] == {"cifar10": "airplane", "cifar100": "apple"}[kind.name]
