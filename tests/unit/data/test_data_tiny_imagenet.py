"""Tiny ImageNet's folder form, in a small copy of 3 classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepreduce.data import default_root, load
from deepreduce.data.tiny_imagenet import ARCHIVE, annotated_files, load_tiny_imagenet
from deepreduce.errors import DataError

WNIDS = ("n03", "n01", "n02")  # not sorted, as in the official file: its order is the label order


def picture(path: Path, level: int, mode: str = "RGB", side: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (side, side), level if mode == "L" else (level, level, 255 - level)).save(path, quality=95)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Training image i of class c has level 60 c + i, test image i has class i % 3 and level 200 + i."""
    folder = tmp_path / "tiny-imagenet-200"
    for label, wnid in enumerate(WNIDS):
        for index in range(4):
            picture(folder / "train" / wnid / "images" / f"{wnid}_{index}.JPEG", 60 * label + index)
    for index in range(6):
        picture(folder / "val" / "images" / f"val_{index}.JPEG", 200 + index)
    lines = [f"val_{index}.JPEG\t{WNIDS[index % 3]}\t0\t0\t63\t63\n" for index in range(6)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn03\ttench\nn99\tunused\n")
    return folder


def test_images_labels_and_names(folder: Path) -> None:
    dataset = load("tinyimagenet", root=folder.parent, validation=0.25)
    assert dataset.input_shape == (3, 64, 64)
    assert dataset.classes == ("tench", "goldfish", "n02")
    assert torch.bincount(dataset.train.labels).tolist() == [3, 3, 3]
    assert torch.bincount(dataset.validation.labels).tolist() == [1, 1, 1]
    assert dataset.test.labels.tolist() == [0, 1, 2, 0, 1, 2]
    levels = dataset.test.images[:, 0].float().mean((1, 2))
    assert levels.tolist() == pytest.approx([200 + index for index in range(6)], abs=3)  # JPEG is lossy
    assert ((dataset.train.images[:, 0].float().mean((1, 2)) / 60).floor() - dataset.train.labels).abs().max() <= 1
    assert dataset.notices == (
        "tinyimagenet: 12 training images instead of the official 100,000",
        "tinyimagenet: 6 test images instead of the official 10,000",
    )


def test_grey_images_become_rgb_and_other_files_are_passed_over(folder: Path) -> None:
    images = folder / "train" / "n01" / "images"
    picture(images / "n01_0.JPEG", 77, mode="L")
    (images / "._n01_1.JPEG").write_bytes(b"resource fork")
    (images / "Thumbs.db").write_bytes(b"x")
    dataset = load("tinyimagenet", root=folder.parent, validation=0.25)
    assert len(dataset.train) + len(dataset.validation) == 12
    everything = torch.cat([dataset.train.images, dataset.validation.images])
    grey = (everything.float().mean((2, 3)) - 77).abs().amax(1) < 1
    assert grey.sum() == 1


def test_an_undecodable_image_is_named(folder: Path) -> None:
    file = folder / "train" / "n02" / "images" / "n02_3.JPEG"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DataError, match=r"n02_3\.JPEG cannot be decoded"):
        load("tinyimagenet", root=folder.parent)


def test_an_image_of_another_size_is_named(folder: Path) -> None:
    picture(folder / "val" / "images" / "val_4.JPEG", 1, side=32)
    with pytest.raises(DataError, match=r"val_4\.JPEG is 32x32 pixels, expected 64x64"):
        load("tinyimagenet", root=folder.parent)


def test_missing_parts_are_named(folder: Path) -> None:
    (folder / "val" / "images" / "val_2.JPEG").unlink()
    with pytest.raises(DataError, match=r"val_2\.JPEG is missing"):
        load("tinyimagenet", root=folder.parent)
    shutil.rmtree(folder / "train" / "n02")
    with pytest.raises(DataError, match=r"holds no images.*n02"):
        load("tinyimagenet", root=folder.parent)
    (folder / "wnids.txt").unlink()
    with pytest.raises(DataError, match=r"wnids\.txt is missing"):
        load("tinyimagenet", root=folder.parent)


@pytest.mark.parametrize("line", ["val_9.JPEG\tn55\t0\t0\t1\t1", "val_9.JPEG"])
def test_a_foreign_annotation_is_named_with_its_line(folder: Path, line: str) -> None:
    with (folder / "val" / "val_annotations.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"val_annotations\.txt, line 7: 'val_9"):
        load("tinyimagenet", root=folder.parent)


def test_an_absent_set_is_fetched_without_the_unlabeled_images(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(folder / "test" / "images" / "test_0.JPEG", 0)
    published = shutil.make_archive(str(tmp_path / "published"), "zip", folder.parent, folder.name)
    root = tmp_path / "root"

    def retrieve(url: str, known_hash: str, fname: str, path: Path) -> str:
        assert (url, known_hash) == (ARCHIVE.url, f"md5:{ARCHIVE.md5}")
        return shutil.copy(published, path / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    fetched = load("tinyimagenet", root=root)
    assert [path.name for path in root.iterdir()] == ["tiny-imagenet-200"]
    assert not (root / "tiny-imagenet-200" / "test").exists()
    assert fetched.digest == load("tinyimagenet", root=folder.parent).digest


def test_a_failed_download_says_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def retrieve(*_: object, **__: object) -> str:
        raise ConnectionError("unreachable")

    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(DataError, match=rf"unreachable.*{ARCHIVE.url}.*val_annotations\.txt"):
        load("tinyimagenet", root=tmp_path)


def test_the_real_test_images_decode() -> None:
    """The first of the real files only: the whole set takes ten seconds and more."""
    from deepreduce.data.decode import decode
    from deepreduce.data.tiny_imagenet import annotated_files

    folder = default_root() / ARCHIVE.folder
    if not folder.is_dir():
        pytest.skip(f"no {ARCHIVE.folder} in {default_root()}")
    files = annotated_files(folder, (folder / "wnids.txt").read_text().split())
    assert np.bincount([label for _, label in files]).tolist() == [50] * 200
    assert decode([path for path, _ in files[:200]], 64, 64, channels=3).float().std() > 40


@pytest.mark.parametrize("name", ["../wnids.txt", "/etc/passwd", "a/b.JPEG", ".hidden", "n" * 300])
def test_lists_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "tiny-imagenet-200"
    (root / "val").mkdir(parents=True)
    (root / "val" / "val_annotations.txt").write_text(f"{name}\tn1\t0 0 1 1\n")
    with pytest.raises(DataError, match="line 1"):
        annotated_files(root, ["n1"])
    (root / "wnids.txt").write_text(f"n1\n{name}\n")
    with pytest.raises(DataError, match="names the class"):
        load_tiny_imagenet(tmp_path)
