"""Folders of one's own images: both layouts, sizes, colors and what can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from deepreduce.data import Dataset, load
from deepreduce.data.decode import decode
from deepreduce.errors import DataError
from deepreduce.inference.client.inputs import read_picture


def picture(path: Path, level: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    """A plain PNG (or by suffix) of (width, height) ``size``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level if mode in ("L", "1") else (level, 0, 0)).save(path)


def fill(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 10, start: int = 0) -> None:
    """``count`` images for each class, each of its own level."""
    for label, name in enumerate(classes):
        for index in range(count):
            picture(folder / name / f"{index:02}.png", start + label * count + index)


def levels(dataset: Dataset) -> list[set[int]]:
    return [set(split.images[:, 0, 0, 0].tolist()) for split in (dataset.train, dataset.validation, dataset.test)]


def test_split_folders_are_used_as_they_are(tmp_path: Path) -> None:
    fill(tmp_path / "train", count=10)
    fill(tmp_path / "val", count=2, start=100)
    fill(tmp_path / "test", count=3, start=200)
    dataset = load(f"folder:{tmp_path}")
    assert dataset.name == f"folder:{tmp_path}"
    assert dataset.classes == ("cat", "dog")
    assert dataset.input_shape == (3, 4, 6), "channels, height, width"
    assert levels(dataset) == [set(range(20)), set(range(100, 104)), set(range(200, 206))]
    assert dataset.test.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_validation_is_carved_from_train_when_absent(tmp_path: Path) -> None:
    fill(tmp_path / "train", count=10)
    fill(tmp_path / "test", count=3, start=200)
    dataset = load(f"folder:{tmp_path}", validation=0.2)
    assert torch.bincount(dataset.validation.labels).tolist() == [2, 2]
    train, validation, test = levels(dataset)
    assert train | validation == set(range(20))
    assert not train & validation
    assert test == set(range(200, 206))


def test_plain_class_folders_are_divided_80_10_10(tmp_path: Path) -> None:
    fill(tmp_path, count=20)
    first, again, other = (load(f"folder:{tmp_path}", seed=seed) for seed in (0, 0, 1))
    counts = [torch.bincount(s.labels).tolist() for s in (first.train, first.validation, first.test)]
    assert counts == [[16, 16], [2, 2], [2, 2]]
    parts = levels(first)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40
    assert first.digest == again.digest
    assert parts[1] != levels(other)[1]
    assert parts[2] == levels(other)[2], "a test image stays one whatever the seed"


def test_all_grey_images_make_one_channel(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(5):
            picture(tmp_path / name / f"{index}.png", 10 + index, mode="L")
    assert load(f"folder:{tmp_path}").input_shape == (1, 4, 6)
    picture(tmp_path / "b" / "color.png", 99)
    mixed = load(f"folder:{tmp_path}")
    assert mixed.input_shape == (3, 4, 6)
    grey = mixed.train.images[mixed.train.images[:, 0, 0, 0] < 20]
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_image_size_resizes(tmp_path: Path) -> None:
    fill(tmp_path)
    picture(tmp_path / "cat" / "large.jpg", 250, size=(300, 200))
    with pytest.raises(DataError) as caught:
        load(f"folder:{tmp_path}")
    assert "6x4" in caught.value.message
    assert "large.jpg is 300x200" in caught.value.message
    assert "image_size" in caught.value.hint
    assert load(f"folder:{tmp_path}", image_size=(8, 5)).input_shape == (3, 8, 5)


def test_palettes_and_transparency_are_converted(tmp_path: Path) -> None:
    fill(tmp_path)
    Image.new("RGBA", (6, 4), (7, 8, 9, 255)).save(tmp_path / "cat" / "alpha.png")
    Image.new("RGB", (6, 4), (1, 2, 3)).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "cat" / "p.gif")
    assert load(f"folder:{tmp_path}", image_size=(4, 4)).input_shape == (3, 4, 4)


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "cat" / "notes.txt").write_text("hello")
    (tmp_path / "cat" / ".hidden.png").write_bytes(b"")
    dataset = load(f"folder:{tmp_path}")
    assert sum(map(len, (dataset.train, dataset.validation, dataset.test))) == 20


def test_path_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        load(f"folder:{tmp_path}/nowhere")
    with pytest.raises(DataError, match="holds 0 class folder"):
        load(f"folder:{tmp_path}")
    fill(tmp_path, classes=("only",))
    with pytest.raises(DataError, match="holds 1 class folder"):
        load(f"folder:{tmp_path}")
    with pytest.raises(DataError, match="names no folder"):
        load("folder:")


def test_a_train_folder_needs_a_test_folder(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    with pytest.raises(DataError, match="a folder 'train' but no folder 'test' or 'val'"):
        load(f"folder:{tmp_path}")
    (tmp_path / "train").rename(tmp_path / "test")
    with pytest.raises(DataError, match="a folder 'test' but no folder 'train'"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize("names", [("train", "val"), ("Training", "valid")])
def test_without_a_test_folder_the_validation_images_are_the_test_split(tmp_path: Path, names: tuple[str, str]) -> None:
    fill(tmp_path / names[0], count=10)
    fill(tmp_path / names[1], count=3, start=200)
    dataset = load(f"folder:{tmp_path}", validation=0.2)
    train, validation, test = levels(dataset)
    assert test == set(range(200, 206))
    assert train | validation == set(range(20)) and len(validation) == 4
    assert len(dataset.notices) == 1
    assert "no test split: its 6 validation images are the test split, and 0.2 of the training" in dataset.notices[0]


@pytest.mark.parametrize("classes", [("train", "bus"), ("train", "test"), ("test", "val", "train")])
def test_a_class_may_be_called_as_a_split(tmp_path: Path, classes: tuple[str, ...]) -> None:
    fill(tmp_path, classes=classes)
    assert load(f"folder:{tmp_path}").classes == tuple(sorted(classes))
    (tmp_path / "train" / "steam").mkdir()
    if len(classes) == 2:  # a class's images may be sorted further
        for file in sorted((tmp_path / "train").glob("*.png")):
            file.rename(tmp_path / "train" / "steam" / file.name)
        if "bus" in classes:
            assert load(f"folder:{tmp_path}").classes == ("bus", "train")


def test_a_split_that_holds_images_is_named(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        fill(tmp_path / name)
    picture(tmp_path / "test" / "stray.png", 3)
    with pytest.raises(DataError, match="test is not a folder of class folders"):
        load(f"folder:{tmp_path}")


def test_images_in_folders_of_a_class_belong_to_it(tmp_path: Path) -> None:
    fill(tmp_path)
    for index in range(10):
        picture(tmp_path / "cat" / "more" / f"{index}.png", 100 + index)
        picture(tmp_path / "bird" / "a" / "b" / f"{index}.png", 200 + index)
    dataset = load(f"folder:{tmp_path}")
    assert dataset.classes == ("bird", "cat", "dog")
    assert [sum(counts) for counts in zip(*dataset.images_per_class.values(), strict=True)] == [10, 20, 10]
    assert dataset.notices == ()


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    for split in ("train", "test"):
        fill(tmp_path / split)
    (tmp_path / "train" / "cat" / "new.heic").touch()
    (tmp_path / "test" / "dog" / "scan.TIF").touch()
    picture(tmp_path / "loose.png", 1)
    fill(tmp_path / "extra")
    notices = "; ".join(load(f"folder:{tmp_path}").notices)
    assert "2 files not read, not PNG, JPEG, WebP, BMP, GIF or PPM: .heic, .tif" in notices
    assert "1 image not read, in no class's folder" in notices and "loose.png" in notices
    assert "folders not read, not a split: extra" in notices
    for file in (tmp_path / "test" / "dog").glob("*.png"):
        file.rename(file.with_suffix(".tiff"))
    with pytest.raises(DataError, match=r"dog holds no images \(PNG.*but files .tif, .tiff"):
        load(f"folder:{tmp_path}")


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "bird").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="bird is a link that leads nowhere"):
        load(f"folder:{tmp_path}")
    (tmp_path / "bird").unlink()
    (tmp_path / "dog" / "x.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"x\.png is missing"):
        load(f"folder:{tmp_path}")


def test_two_validation_folders_are_one_too_many(tmp_path: Path) -> None:
    for name in ("train", "test", "val", "validation"):
        fill(tmp_path / name)
    with pytest.raises(DataError, match="both a folder 'val' and a folder 'validation'"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize("odd", ["train", "test"])
def test_classes_that_differ_between_splits_are_named(tmp_path: Path, odd: str) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    picture(tmp_path / odd / "zebra" / "0.png", 1)
    with pytest.raises(DataError, match=f"{odd} has classes that .* lacks: zebra"):
        load(f"folder:{tmp_path}")


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images"):
        load(f"folder:{tmp_path}")


def test_a_class_too_small_to_divide_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    for index in range(2):
        picture(tmp_path / "rare" / f"{index}.png", 1)
    with pytest.raises(DataError, match=r"class 'rare' of .* has 2 image"):
        load(f"folder:{tmp_path}")
    picture(tmp_path / "rare" / "2.png", 1)
    assert torch.bincount(load(f"folder:{tmp_path}", validation=0.5).train.labels).tolist()[2] == 1


def test_an_undecodable_file_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "dog" / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"broken\.jpg cannot be decoded"):
        load(f"folder:{tmp_path}")


def truncated(path: Path) -> None:
    """A real picture whose header can be read and whose pixels end in the middle."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(noise).resize((60, 40)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_all_images_that_cannot_be_read_are_named_in_one_error(tmp_path: Path) -> None:
    """Whatever is wrong with them, and in whichever split: none is left for the next attempt."""
    for split in ("train", "test"):
        fill(tmp_path / split)
        truncated(tmp_path / split / "cat" / "cut.jpg")
        truncated(tmp_path / split / "dog" / "cut.png")
    with pytest.raises(DataError) as only_cut:
        load(f"folder:{tmp_path}", image_size=(4, 6))
    assert only_cut.value.message.startswith("4 images cannot be used: ")
    (tmp_path / "test" / "dog" / "text.jpg").write_bytes(b"not a picture")
    Image.fromarray(np.full((4, 6), 40_000, dtype=np.uint16)).save(tmp_path / "train" / "dog" / "deep.png")
    with pytest.raises(DataError) as caught:
        load(f"folder:{tmp_path}", image_size=(4, 6))
    found = caught.value
    assert found.message.startswith("6 images cannot be used: ")
    for name in ("train/cat/cut.jpg", "train/dog/cut.png", "test/cat/cut.jpg", "test/dog/cut.png", "test/dog/text.jpg"):
        assert f"{tmp_path / name} cannot be decoded" in found.message
    assert "deep.png has more than 8 bits" in found.message
    assert "\n" not in str(found)
    assert set(found.hint.split("; ")) == {
        "replace or remove damaged images",
        "convert it to PNG, or remove it",
        "convert images to 8 bits a channel",
    }


def test_of_many_images_that_cannot_be_read_some_are_named_and_all_are_counted(tmp_path: Path) -> None:
    fill(tmp_path)
    for index in range(130):
        (tmp_path / "cat" / f"x{index:03}.png").write_bytes(b"no")
    with pytest.raises(DataError) as caught:
        load(f"folder:{tmp_path}")
    message = caught.value.message
    assert message.startswith("130 images cannot be used: ") and message.endswith("; and 120 more")
    assert "x009.png cannot be decoded: not a PNG" in message and "x010" not in message and "BytesIO" not in message


def test_photographs_are_turned_upright_as_their_tags_say(tmp_path: Path) -> None:
    """As Pillow's own function turns them, for every orientation and each kind of file that may have one."""
    upright = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    files = []
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for tag in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = tag
            turned = Image.fromarray(upright if tag < 5 else upright.transpose(1, 0, 2))
            for suffix in ("jpg", "png", "webp"):
                files.append(tmp_path / name / f"{tag}.{suffix}")
                turned.save(files[-1], exif=exif)
    late = files[-2].with_name("late.png")  # as exiftool writes it: the tag behind the pixels
    late.write_bytes(with_late_exif(files[-2].read_bytes()))
    dataset = load(f"folder:{tmp_path}", validation=0.5)
    assert dataset.input_shape == (3, 4, 6), "all are 6 wide and 4 high when upright"
    for path in [*files, late]:
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).transpose(2, 0, 1)
        assert np.array_equal(decode([path], 4, 6, 3)[0].numpy(), expected), path
        assert np.array_equal(read_picture(path, (3, 4, 6), resize=False), expected), path


def with_late_exif(content: bytes) -> bytes:
    """A PNG's bytes with its eXIf chunk moved to just before the end."""
    start = content.index(b"eXIf") - 4
    length = 12 + int.from_bytes(content[start : start + 4], "big")
    chunk, rest = content[start : start + length], content[:start] + content[start + length :]
    return rest[:-12] + chunk + rest[-12:]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_tags_turn_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    for exif in (b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0junk"):
        Image.new("RGB", (6, 4)).save(path, exif=exif)
        assert decode([path], 4, 6, 3).shape == (1, 3, 4, 6)
        assert read_picture(path, (3, 4, 6), resize=False).shape == (3, 4, 6)


def test_the_images_of_each_class_and_split_are_counted(tmp_path: Path) -> None:
    fill(tmp_path / "train", classes=("ape", "bee"), count=10)
    fill(tmp_path / "test", classes=("ape", "bee"), count=3)
    picture(tmp_path / "test" / "bee" / "more.png", 1)
    assert load(f"folder:{tmp_path}").images_per_class == {"train": (9, 9), "validation": (1, 1), "test": (3, 4)}


def test_sixteen_bits_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    fill(tmp_path)
    Image.fromarray(np.full((4, 6), 40_000, dtype=np.uint16)).save(tmp_path / "dog" / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize("size", [(0, 8), (8, -1)])
def test_an_impossible_size_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="at least 1 pixel"):
        load(f"folder:{tmp_path}", image_size=size)
