"""Images of every kind as a plan's input, as `Client.classify` takes them."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from deepreduce.errors import DataError, PlanError
from deepreduce.inference.client import image_files
from deepreduce.inference.client.inputs import each_image, image_input
from deepreduce.plan import normalized, pictures_of
from plan_samples import conv, plan_of

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 6, 3)).astype(np.uint8)
BARE = plan_of(conv("c", "input", 2), input_shape=(3, 5, 6))
PLAN = dataclasses.replace(BARE, pictures=pictures_of((3, 5, 6), (0.5,) * 3, (0.25,) * 3))
GREY = dataclasses.replace(
    plan_of(conv("c", "input", 2), input_shape=(1, 5, 6)), pictures=pictures_of((1, 5, 6), (0.5,), (0.25,))
)
EXPECTED = normalized(PLAN, RGB.transpose(2, 0, 1)[None])[0]


def test_every_kind_is_the_same_input(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", EXPECTED)
    kinds = [str(tmp_path / "x.png"), tmp_path / "x.png", tmp_path / "x.npy", Image.fromarray(RGB), RGB,
             RGB.transpose(2, 0, 1), EXPECTED]  # fmt: skip
    for image in kinds:
        assert np.array_equal(image_input(image, PLAN), EXPECTED)
    assert np.allclose(image_input(EXPECTED.astype(np.float32), PLAN), EXPECTED)


def test_grey_and_color_become_each_other():
    grey = np.asarray(Image.fromarray(RGB).convert("L"))
    for image in (RGB, RGB.transpose(2, 0, 1), grey, grey[None], grey[..., None], Image.fromarray(RGB)):
        assert np.array_equal(image_input(image, GREY), normalized(GREY, grey[None, None])[0])
    assert np.array_equal(image_input(grey, PLAN), normalized(PLAN, np.stack([grey] * 3)[None])[0])


def test_other_sizes_are_stretched_on_request():
    wide = np.asarray(Image.fromarray(RGB).resize((12, 9)))
    for image in (wide, wide.transpose(2, 0, 1), Image.fromarray(wide)):
        with pytest.raises(DataError, match=r"image 3 is 12x9 pixels, the plan takes 6x5.*`resize`"):
            image_input(image, PLAN, name="image 3")
        assert image_input(image, PLAN, resize=True).shape == (3, 5, 6)


def test_pictures_are_turned_as_they_say(tmp_path):
    """A camera held sideways stores the picture lying, with a tag."""
    lying = Image.fromarray(np.rot90(RGB))  # the tag 6 turns it clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(image_input(tmp_path / "turned.png", PLAN), EXPECTED)


@pytest.mark.parametrize(
    "image",
    [None, 5, np.zeros((3, 5, 6), np.int64), np.zeros((3, 5, 6), bool), np.zeros((2, 5, 6), np.uint8), object(),
     np.zeros((0, 5, 3), np.uint8), np.zeros((4, 5, 6)), np.full((3, 5, 6), np.nan), np.zeros(7, np.uint8), {}],
    ids=lambda image: f"{type(image).__name__} {getattr(image, 'dtype', '')} {getattr(image, 'shape', '')}",
)  # fmt: skip
def test_what_is_not_an_image_is_refused(image):
    with pytest.raises(DataError, match="image 7"):
        image_input(image, PLAN, name="image 7")


def test_a_plan_without_pictures_takes_its_input_only():
    assert np.array_equal(image_input(EXPECTED, BARE), EXPECTED)
    with pytest.raises(PlanError, match="does not say how pictures"):
        image_input(RGB, BARE)


def test_one_is_a_list_of_one():
    for one in ("x.png", RGB, RGB[..., 0], Image.fromarray(RGB)):
        assert [got is one for got in each_image(one)] == [True]
    assert len(list(each_image(np.stack([RGB, RGB])))) == 2
    assert list(each_image(iter(["a", "b"]))) == ["a", "b"]
    assert list(each_image([])) == []


def test_files_of_folders(tmp_path):
    (tmp_path / "pictures" / "below").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("pictures/b.PNG", "pictures/a.jpg", "pictures/notes.txt", "pictures/below/c.npy", "x.png"):
        (tmp_path / name).touch()
    found = image_files([tmp_path / "x.png", tmp_path / "pictures", tmp_path / "none.png"])
    assert [path.name for path in found] == ["x.png", "a.jpg", "b.PNG", "c.npy", "none.png"]
    with pytest.raises(DataError, match="empty has no pictures"):
        image_files([tmp_path / "empty"])
