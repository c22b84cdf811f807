"""Pictures: from bytes to a plan's input, and what a plan may say of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepreduce.errors import PlanError
from deepreduce.networks.network import shrink
from deepreduce.plan import decode, encode, normalized, pictures_of
from deepreduce.plan.preprocessing import averaged
from deepreduce.train.augment import Normalizer
from plan_samples import conv, plan_of


def sample(size=8, classes=()):
    plan = plan_of(conv("c", "input", 1, kernel=4, padding=0), conv("d", "c", 2, kernel=1), input_shape=(3, 4, 4))
    return replace(plan, pictures=pictures_of((3, size, size), (0.5, 0.25, 0.1), (0.2, 0.3, 0.4), classes))


def test_pictures_survive_the_file():
    plan = sample(classes=("cat \N{SNOWMAN}", "dog"))
    assert decode(encode(plan)) == plan


@pytest.mark.parametrize("size", [4, 8, 7])
def test_normalized_is_what_training_does(size):
    plan, rng = sample(size), np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 3, size, size), dtype=np.uint8)
    normalize = Normalizer((0.5, 0.25, 0.1), (0.2, 0.3, 0.4), torch.device("cpu"), False)
    trained = normalize(torch.from_numpy(pixels))
    expected = torch.nn.functional.adaptive_avg_pool2d(trained, 4).numpy()
    np.testing.assert_allclose(normalized(plan, pixels), expected, atol=2e-4)
    if size == 8:
        np.testing.assert_allclose(shrink(trained, 0.5).numpy(), expected, atol=1e-6)


def test_averaged_leaves_equal_sizes_alone():
    images = np.arange(16.0).reshape(1, 1, 4, 4)
    assert averaged(images, 4, 4) is images


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"shape": (2, 8, 8)}, "2 channels"),
        ({"shape": (1, 8, 8)}, "averaged"),
        ({"shape": (3, 2, 8)}, "averaged"),
        ({"mean": (1, 2)}, "2 values"),
        ({"std": (0, 1, 1)}, "std is 0"),
        ({"mean": (2**30, 1, 1)}, "mean is"),
        ({"classes": ("one",)}, "1 class names for 2"),
        ({"classes": ("one", "")}, "not allowed"),
        ({"classes": ("one", "a\nb")}, "not allowed"),
        ({"classes": ("one", "x" * 257)}, "not allowed"),
        ({"mean": (0.5, 0, 0)}, "mean is"),
    ],
)
def test_what_cannot_be_is_refused(change, match):
    plan = sample()
    with pytest.raises(PlanError, match=match):
        encode(replace(plan, pictures=replace(plan.pictures, **change)))


def test_wrong_pictures_are_refused():
    plan = sample()
    for pixels in (np.zeros((1, 3, 8, 9), np.uint8), np.zeros((1, 3, 8, 8)), np.zeros((3, 8, 8), np.uint8)):
        with pytest.raises(PlanError, match="pictures are"):
            normalized(plan, pixels)
    with pytest.raises(PlanError, match="does not say"):
        normalized(replace(plan, pictures=None), np.zeros((1, 3, 8, 8), np.uint8))
