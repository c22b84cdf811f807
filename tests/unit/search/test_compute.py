"""What a training costs, and recipes cut to a share of their work."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from deepreduce.errors import SettingError
from deepreduce.search.compute import check_compute_budget, shortened, work
from deepreduce.train import make_recipe

PAPER, QUICK = make_recipe("paper"), make_recipe("quick", epochs=2, batch_size=128)


def test_work_counts_passes_of_both_networks():
    assert work(PAPER, 45_000, 10) == 120 * 45_000 * 30
    assert work(PAPER, 45_000, 10, 7) == 120 * 45_000 * 37
    assert work(replace(PAPER, epoch_images=1_000), 45_000, 10, 7) == 120 * 1_000 * 37
    assert work(replace(PAPER, epoch_images=99_000), 45_000, 10) == work(PAPER, 45_000, 10)


def test_two_epochs_can_be_cut_to_less_than_one():
    short = shortened(QUICK, 0.125, 45_000)
    assert (short.epochs, short.epoch_images) == (1, 11_136)  # 11,250 in whole batches of 128
    assert shortened(QUICK, 0.5, 45_000) == replace(QUICK, epochs=1, epoch_images=44_928)
    assert shortened(QUICK, 0.75, 45_000) == replace(QUICK, epochs=2, epoch_images=33_664)
    assert shortened(QUICK, 1.0, 45_000) == QUICK


def test_the_steps_of_the_rate_are_kept():
    short = shortened(PAPER, 0.125, 45_000)
    assert (short.epochs, short.step_epochs) == (16, 4)
    assert work(short, 45_000, 1) <= work(PAPER, 45_000, 1) / 8
    least = shortened(PAPER, 0.001, 45_000)
    assert (least.epochs, least.step_epochs) == (4, 1)
    assert shortened(make_recipe("paper", epochs=2), 0.5, 45_000).step_epochs == 30  # it never steps


@given(
    st.floats(0.01, 0.999), st.integers(1, 200), st.integers(1_000, 50_000), st.integers(1, 300), st.booleans(),
    st.sampled_from([0, 700, 10**6]),
)  # fmt: skip
def test_a_share_is_never_exceeded(share, epochs, images, batch, steps, epoch_images):
    recipe = make_recipe("paper" if steps else "quick", epochs=epochs, batch_size=batch, epoch_images=epoch_images)
    short = shortened(recipe, share, images)
    allowed = share * work(recipe, images, 1)
    assert work(short, images, 1) <= max(allowed * (1 + 1e-12), 3 * 2 * short.epochs)  # but for rounding
    assert short.images_per_epoch(images) <= batch or short.images_per_epoch(images) % batch in (0, images % batch)
    lost = 3 * (batch + 1) * short.epochs + 3  # what makes no whole batch, in every epoch
    assert work(short, images, 1) >= allowed - lost


def test_unknown_compute_budgets_are_refused():
    check_compute_budget("quarter")
    with pytest.raises(SettingError, match="compute budget 'quater' is unknown"):
        check_compute_budget("quater")
