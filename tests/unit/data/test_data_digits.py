"""The embedded digits: nothing leaks between the splits, and a linear classifier cannot read them."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch

from deepreduce.data import Dataset, digits as digits_module, load
from deepreduce.data.digits import DEFAULT, lay_out, load_digits, originals, split_originals
from deepreduce.errors import DataError, MissingPackageError

SMALL = dataclasses.replace(DEFAULT, train_images=200, validation_images=50, test_images=50)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def test_sizes_shapes_and_statistics(digits: Dataset) -> None:
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (5000, 1000, 1000)
    assert digits.input_shape == (1, 32, 32)
    assert digits.classes == tuple("0123456789")
    pixels = digits.train.images.double() / 255
    assert digits.mean == pytest.approx((pixels.mean().item(),))
    assert digits.std == pytest.approx((pixels.std(correction=0).item(),))
    for split in (digits.train, digits.validation, digits.test):
        share = torch.bincount(split.labels, minlength=10) / len(split)
        assert share.min() > 0.08
        assert share.max() < 0.12


def test_same_seed_same_bytes_whatever_the_number_of_threads(digits: Dataset) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if before == 1 else 1)
        assert load("digits").digest == digits.digest
    finally:
        torch.set_num_threads(before)


def test_the_global_random_state_is_neither_used_nor_moved() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = load_digits(config=SMALL)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert load_digits(config=SMALL).digest == first.digest


def test_seed_moves_validation_but_never_the_test_split() -> None:
    first, second = load_digits(seed=0, config=SMALL), load_digits(seed=1, config=SMALL)
    assert torch.equal(first.test.images, second.test.images)
    assert not torch.equal(first.validation.images, second.validation.images)
    assert not torch.equal(first.train.images, second.train.images)


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("validation", [0.1, 0.5])
def test_every_original_and_all_its_fragments_stay_in_one_split(seed: int, validation: float) -> None:
    images, labels = originals()
    parts = split_originals(labels, seed, validation)
    assert sorted(torch.cat(list(parts.values())).tolist()) == list(range(len(images)))
    assert len(parts["validation"]) == pytest.approx(validation * (len(labels) - len(parts["test"])), abs=6)
    used = {}
    for name, members in parts.items():
        assert torch.bincount(labels[members], minlength=10).min() >= 0.09 * len(members)
        layout = lay_out(members, 1000, DEFAULT, torch.Generator().manual_seed(0))
        assert layout.sources.shape == (1000, 1 + DEFAULT.fragments)
        assert not (layout.sources[:, 1:] == layout.sources[:, :1]).any(), "a fragment of the digit itself"
        used[name] = set(layout.sources.flatten().tolist())
        assert used[name] <= set(members.tolist())
    assert not used["train"] & used["test"]
    assert not used["train"] & used["validation"]
    assert not used["validation"] & used["test"]


def test_the_drawn_pixels_come_from_the_split_s_own_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanking every original of the test split must change the test canvases and no others."""
    images, labels = originals()
    blanked = images.clone()
    blanked[split_originals(labels)["test"]] = 0
    whole = load_digits(config=SMALL)
    monkeypatch.setattr(digits_module, "originals", lambda: (blanked, labels))
    without = load_digits(config=SMALL)
    assert torch.equal(whole.train.images, without.train.images)
    assert torch.equal(whole.validation.images, without.validation.images)
    assert not torch.equal(whole.test.images, without.test.images)


def test_a_digit_in_the_middle_is_its_original() -> None:
    """Untouched geometry (no turn, shift, noise or inversion, side = canvas) reproduces the stretched original."""
    plain = dataclasses.replace(
        SMALL,
        rotation_degrees=(0, 0),
        side=(32, 32),
        shift=0,
        contrast=(1, 1),
        fragments=0,
        noise=0,
        margin=0,
    )
    images, labels = originals()
    dataset = load_digits(config=plain)
    layout = lay_out(split_originals(labels)["test"], 50, plain, torch.Generator().manual_seed(plain.seed + 2))
    # With 4 pixels to each original pixel, the inner 2x2 of every 4x4 block average to it up to the blur of bilinear
    # interpolation: compare by correlation.
    shrunk = torch.nn.functional.avg_pool2d(dataset.test.images.float() / 255, 4)
    pairs = torch.stack([shrunk.flatten(1), images[layout.sources[:, 0]].flatten(1)], dim=1)
    assert min(torch.corrcoef(pair)[0, 1].item() for pair in pairs) > 0.95


def test_a_linear_classifier_fails(digits: Dataset) -> None:
    from sklearn.linear_model import LogisticRegression

    def features(split: torch.Tensor) -> torch.Tensor:
        return (split.flatten(1).float() / 255 - digits.mean[0]) / digits.std[0]

    linear = LogisticRegression(C=1e-2, max_iter=300).fit(features(digits.train.images), digits.train.labels)
    assert linear.score(features(digits.test.images), digits.test.labels) <= 0.2


def test_without_scikit_learn_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingPackageError, match=r"deepreduce\[search\]"):
        load("digits")


def test_a_foreign_size_is_refused() -> None:
    with pytest.raises(DataError, match=r"images of 32x32 cannot be averaged to 64x64"):
        load("digits", image_size=(64, 64))
