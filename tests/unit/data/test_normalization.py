"""A normalization given by the user, in place of the training images' own."""

import pytest
import torch

from deepreduce.data import IMAGENET
from deepreduce.data.dataset import Split, assemble
from deepreduce.data.snapshot import restore, save
from deepreduce.errors import DataError

LABELS = torch.tensor([0, 1, 0, 1])


def data(channels):
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (4, channels, 2, 2), generator=generator).byte() for _ in range(3)]
    return assemble("d", ("a", "b"), *(Split(pixels, LABELS.clone()) for pixels in images))


def test_it_replaces_the_statistics_and_nothing_else(tmp_path):
    before = data(3)
    after = before.normalized(*IMAGENET)
    assert (after.mean, after.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert after.train is before.train and after.classes == before.classes
    assert after.digest != before.digest, "a network trains otherwise"
    assert before.normalized(before.mean, before.std).digest == before.digest
    save(after, tmp_path / "data.safetensors")
    assert restore(tmp_path / "data.safetensors").mean == after.mean


def test_one_value_is_for_all_channels():
    assert data(3).normalized([0.5], [0.25]).mean == (0.5, 0.5, 0.5)
    assert data(1).normalized([0], [1]).std == (1.0,)


@pytest.mark.parametrize(
    ("channels", "mean", "std", "says"),
    [
        (1, *IMAGENET, "mean has 3 values, the images have 1 channel "),
        (3, (0.5,), (0.5, 0.5), "std has 2 values, the images have 3 channels"),
        (3, (123.7, 116.3, 103.5), (0.2,), r"mean 123.7 is not in \[0, 1\] .*divide by 255"),
        (3, (-0.1,), (0.2,), "mean -0.1 is not in"),
        (3, (0.5,), (0.0,), r"std 0 is not in \[0.001, 1\]"),
        (3, (float("nan"),), (0.2,), "mean nan is not in"),
    ],
)
def test_values_that_cannot_be_say_why(channels, mean, std, says):
    with pytest.raises(DataError, match=says):
        data(channels).normalized(mean, std)
