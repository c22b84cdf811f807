"""Data in the forms that people have: torch data sets and loaders, lists, arrays, PIL images."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset as TorchDataset, IterableDataset, TensorDataset

from deepreduce.data import Dataset, as_dataset, as_samples, as_split
from deepreduce.errors import DataError
from small_data import stripes, stripes_dataset

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 4, 6, 3)).astype(np.uint8)  # [n, h, w, c]
LABELS = [index % 2 for index in range(24)]
EXPECTED = PIXELS.transpose(0, 3, 1, 2)


class Photos(TorchDataset):
    """As torchvision's: PIL images and the names of classes, and an end that only ``len`` tells."""

    classes = ("cat", "dog")

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, index):
        return Image.fromarray(PIXELS[index]), LABELS[index]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(torch.from_numpy(EXPECTED / 255.0).float(), LABELS, strict=True))


def pairs(images):
    return list(zip(images, LABELS, strict=True))


FORMS = {
    "torch data set of PIL images": Photos(),
    "loader": DataLoader(Photos(), batch_size=5, shuffle=True),
    "stream of real tensors": Stream(),
    "tensors": TensorDataset(torch.from_numpy(EXPECTED.copy()), torch.tensor(LABELS)),
    "list of arrays, channels last": pairs(PIXELS),
    "list of arrays, channels first": pairs(EXPECTED),
    "integers": pairs(EXPECTED.astype(np.int64)),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_images_and_labels_are_the_same_in_every_form(data):
    split = as_split(data)
    assert np.array_equal(split.images.numpy(), EXPECTED)
    assert split.labels.tolist() == LABELS
    samples = as_samples(data)
    assert np.array_equal(np.rint(samples * 255) if samples.max() <= 1 else samples, EXPECTED)
    dataset = as_dataset(data, validation=0.2)
    assert isinstance(dataset, Dataset)
    assert dataset.images_per_class == {"train": (9, 9), "validation": (2, 2), "test": (1, 1)}
    assert dataset.input_shape == (3, 4, 6)
    named = isinstance(data, Photos | DataLoader)
    assert dataset.classes == (("cat", "dog") if named else ("0", "1"))
    assert dataset.digest == as_dataset(FORMS["tensors"], validation=0.2).digest


def test_splits_are_taken_by_name_and_grey_stays_grey():
    grey = [(image[..., 0], label) for image, label in pairs(PIXELS)]
    dataset = as_dataset({"train": grey, "test": grey[:6]}, validation=0.25)
    assert dataset.input_shape == (1, 4, 6)
    assert dataset.images_per_class == {"train": (9, 9), "validation": (3, 3), "test": (3, 3)}
    photos = [Image.fromarray(image[..., 0]) for image, _ in pairs(PIXELS)]
    assert np.array_equal(as_samples(photos), EXPECTED[:, :1])
    whole = as_dataset({"train": grey, "validation": grey[:4], "test": as_split(grey)})
    assert whole.images_per_class["validation"] == (2, 2)


def test_what_is_ours_already_is_passed_on():
    data = stripes_dataset()
    assert as_dataset(data) is data
    assert as_split(data.test) is data.test
    assert np.array_equal(as_samples(data.test), data.test.images.numpy())
    assert as_dataset("digits").name == "digits"


def test_one_picture_and_arrays_are_samples():
    assert np.array_equal(as_samples(Image.fromarray(PIXELS[0])), EXPECTED[:1])
    inputs = RNG.normal(size=(3, 5, 4, 6))
    assert np.array_equal(as_samples(torch.from_numpy(inputs)), inputs)
    assert np.array_equal(as_samples(list(inputs)), inputs), "real inputs of a network are not brought to a range"
    features = RNG.normal(size=(7, 64, 1, 1))
    assert np.array_equal(as_samples(list(features)), features)


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS[0].transpose(1, 0, 2)).save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as image:
        assert as_split([(image, 0)]).images.shape == (1, 3, 4, 6)


NORMALIZED = TensorDataset(torch.randn(8, 3, 4, 4), torch.arange(8) % 2)
WRONG = {
    "normalized already": (NORMALIZED, "from 0 to 1.*leave their normalization out"),
    "not a number": ([(np.full((3, 4, 4), np.nan), 0)], "from nan"),
    "no labels": (list(EXPECTED), "not a pair"),
    "one array": (EXPECTED, "an array uint8.*Dataset or DataLoader"),
    "one picture": (Image.fromarray(PIXELS[0]), "of type Image"),
    "nothing": ([], "no images"),
    "None": (None, "NoneType"),
    "a number": (3, "the data are 3"),
    "several sizes": ([(np.zeros((3, 4, 4), np.uint8), 0), (np.zeros((3, 5, 4), np.uint8), 1)], "3x4x4, 3x5x4"),
    "names as labels": ([(EXPECTED[0], "cat")], "label 0 is 'cat'.*number of the class"),
    "text as an image": ([("cat.png", 0)], "image 0 is 'cat.png'"),
    "a vector": ([(np.zeros(5), 0)], r"image 0 is float64 \(5,\)"),
    "values beyond a byte": ([(np.full((3, 4, 4), 700), 0)], "from 700 to 700, expected from 0 to 255"),
    "unnamed splits": ({"train": Photos()}, "expected train, test, validation"),
    "three data sets": ((Photos(), Photos(), Photos()), "not a pair"),
    "too few": ([(EXPECTED[0], 0), (EXPECTED[1], 1)], "has 1 image, dividing them needs at least 3"),
    "splits of two sizes": ({"train": pairs(EXPECTED), "test": pairs(EXPECTED[:, :1])}, "1x4x6, 3x4x6"),
}


@pytest.mark.parametrize(("data", "reason"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_converted_is_refused_with_a_remedy(data, reason):
    with pytest.raises(DataError, match=reason) as caught:
        as_dataset(data)
    assert caught.value.hint


@pytest.mark.parametrize("data", [None, 3, "x.png", np.zeros((4, 4)), [], [None], {"a": 1}, np.zeros((0, 3, 4, 4))])
def test_what_is_no_sample_is_refused(data):
    with pytest.raises(DataError) as caught:
        as_samples(data)
    assert caught.value.hint


def test_splits_divide_as_they_did():
    """A list is divided as the same images in folders are, by the same seeds."""
    split = stripes(40, 0)
    one, other = (as_dataset(list(zip(split.images, split.labels, strict=True)), seed=seed) for seed in (0, 1))
    assert one.test.images.equal(other.test.images) and not one.validation.images.equal(other.validation.images)
