"""The ablation: what is compared with what, what is kept, what is put together."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from deepreduce.errors import SettingError
from deepreduce.reproduce.claims.ablation import ablate, base, combined, ingredients, needed
from deepreduce.reproduce.claims.ablation_page import write_ablation
from deepreduce.reproduce.records import Record
from deepreduce.reproduce.scale import find_scale
from deepreduce.reproduce.training import Training
from reproduce_fixture import lookup_of, noise

SMALL, SEEDS = find_scale("small"), range(5)
PARTS = {part.name: part for part in ingredients(SMALL)}


def gains(of: Mapping[str, float]) -> Callable[[Training], float]:
    """50 % and, for every setting of the student or the teacher, what it is worth."""

    def accuracy(training: Training) -> float:
        settings = dict(training.settings) | dict(training.teacher.settings if training.teacher else ())
        return 50.0 + sum(of.get(name, 0.0) for name in settings)

    return accuracy


def test_only_what_changes_the_recipe_is_an_ingredient() -> None:
    assert (
        "weight decay 0.0005" not in PARTS and "temperature 4" not in PARTS and "0.9 on the soft targets" not in PARTS
    )
    assert {"weight decay 0.0001", "weight decay 0.0004", "temperature 2", "0.9 on the hard targets"} <= set(PARTS)
    assert "moving average 0.99" in PARTS
    full = {part.name for part in ingredients(find_scale("full"))}
    assert {"weight decay 0.0005", "0.9 on the soft targets", "moving average 0.999"} <= full
    assert not {"weight decay 0.0004", "0.9 on the hard targets"} & full


def test_an_ingredient_changes_one_side_only() -> None:
    smooth, cosine = (combined([PARTS[n]]) for n in ("teacher with label smoothing 0.1", "cosine schedule"))
    assert smooth.settings == () and smooth.teacher == Training(settings=(("label_smoothing", 0.1),))
    assert cosine.teacher == base().teacher == Training() and cosine.settings == (("schedule", "cosine"),)
    assert combined([]) == base()


def test_contradicting_ingredients_are_refused() -> None:
    with pytest.raises(SettingError, match="kd_temperature is to be 2"):
        combined([PARTS["temperature 2"], PARTS["temperature 8"]])
    both = combined([PARTS["warm start"], PARTS["warm start, ReLUs fading over 0.4"]])
    assert both.settings == (("warm_start", True), ("anneal", 0.4))


def test_what_helps_is_kept_and_taken_out_again() -> None:
    worth = {"cutmix": 2.0, "label_smoothing": 1.0, "attention_weight": 1.5, "schedule": -3.0, "kd_weight_on": 0.0}
    found = ablate(SMALL, lookup_of(gains(worth)), SEEDS)
    assert found.complete
    assert [part.name for part in found.kept] == ["teacher with CutMix 1.0", "attention maps, weight 1000"]
    rows = {row.ingredient.name: row for row in found.alone}
    assert rows["teacher with label smoothing 0.1"].compared.outcome == "confirmed"
    assert rows["teacher with label smoothing 0.1"].kept is False, "CutMix is better"
    assert rows["cosine schedule"].compared.outcome == "refuted" and rows["cosine schedule"].kept is False
    assert rows["0.9 on the hard targets"].compared.outcome == "undecided"
    assert found.together is not None and found.together.outcome == "confirmed"
    assert found.together.paired is not None and found.together.paired.mean == pytest.approx(3.5, abs=0.3)
    assert [row.compared.comparison.below.name for row in found.without] == [
        "all without teacher with CutMix 1.0",
        "all without attention maps, weight 1000",
    ]
    assert [row.kept for row in found.without] == [True, True]
    assert all(row.compared.paired and row.compared.paired.comparisons == 1 for row in found.alone)


def test_what_hurts_the_others_is_not_kept_together() -> None:
    def accuracy(training: Training) -> float:
        names = {name for name, _ in training.settings}
        return 50.0 + len(names) - (2.5 if {"attention_weight", "schedule"} <= names else 0)

    found = ablate(SMALL, lookup_of(accuracy), SEEDS)
    kept = {row.ingredient.name: row.kept for row in found.without}
    assert kept["cosine schedule"] is False and kept["attention maps, weight 1000"] is False
    assert kept["warm start, ReLUs fading over 0.4"] is True


def test_fading_is_compared_with_the_warm_start_too() -> None:
    found = ablate(SMALL, lookup_of(gains({"warm_start": 1.0})), SEEDS)
    assert [row.comparison.label for row in found.further] == ["warm start, ReLUs fading over 0.4 over warm start"]
    assert found.further[0].paired is not None and abs(found.further[0].paired.mean) < 0.3
    rows = {row.ingredient.name: row.compared.outcome for row in found.alone}
    assert rows["warm start, ReLUs fading over 0.4"] == "confirmed"


def test_what_is_needed_grows_once_the_ingredients_are_known() -> None:
    nothing = lookup_of(lambda t: None)
    first = needed(SMALL, nothing, [0, 1])
    assert len(first) == len(set(first)) == 2 * (1 + len(PARTS))
    assert first[0] == (base(), 0) and [seed for _, seed in first] == sorted(seed for _, seed in first)
    worth = {"cutmix": 2.0, "attention_weight": 1.5, "ema_decay": 1.0}
    then = needed(SMALL, lookup_of(gains(worth)), SEEDS)
    new = {training for training, _ in then} - {training for training, _ in first}
    assert len(new) == 4, "all three, and three pairs"
    assert not ablate(SMALL, lookup_of(gains(worth), seeds=4), SEEDS).complete
    one = ablate(SMALL, lookup_of(gains({"cutmix": 2.0})), SEEDS)
    assert one.complete and len(one.kept) == 1 and one.together is None and one.without == ()


def test_two_kept_are_each_alone_when_the_other_is_out() -> None:
    """Nothing is trained twice: all of two without one is the other alone."""
    found = ablate(SMALL, lookup_of(gains({"cutmix": 2.0, "attention_weight": 1.5})), SEEDS)
    below = {row.compared.comparison.below.trainings[0] for row in found.without}
    assert below == {combined([part]) for part in found.kept}


def test_the_files(tmp_path: Path) -> None:
    find = lookup_of(gains({"cutmix": 2.0, "attention_weight": 1.5, "schedule": -1.0}))
    written = write_ablation(tmp_path, SMALL, ablate(SMALL, find, SEEDS), find, SEEDS, "the command", "2026-11-22")
    assert [path.name for path in written] == ["ablation.json", "ablation.md", "ablation.svg"]
    content, page = json.loads(written[0].read_text()), written[1].read_text()
    assert content["kept"] == ["teacher with CutMix 1.0", "attention maps, weight 1000"]
    # The base, each alone, and everything together; without one of two is the other alone.
    assert content["trainings"] == 5 * (1 + len(PARTS) + 1)
    assert "| cosine schedule | \N{MINUS SIGN}1." in page and "| worse | no |" in page and "the command" in page
    assert "Kept: teacher with CutMix 1.0, attention maps, weight 1000." in page
    assert ET.fromstring(written[2].read_bytes()).tag.endswith("svg")


def test_the_page_before_anything_is_run(tmp_path: Path) -> None:
    nothing = lookup_of(lambda t: None)
    [_, page] = write_ablation(
        tmp_path, SMALL, ablate(SMALL, nothing, SEEDS), nothing, SEEDS, "x", "2026-11-22", figures=False
    )
    assert page.read_text().count("| not run |") == len(PARTS) + 1
    assert "Kept" not in page.read_text()


def test_at_another_scale_nothing_is_hidden() -> None:
    """A scale whose recipe has an ingredient already does without it, and with its opposite."""
    strong = replace(SMALL, recipe=replace(SMALL.recipe, schedule="cosine", weight_decay=1e-4))
    names = {part.name for part in ingredients(strong)}
    assert "cosine schedule" not in names and "weight decay 0.0005" in names


def test_test_accuracy_chooses_nothing() -> None:
    """Records in which only test accuracy tells ingredients from the base: none is kept."""
    better = lookup_of(lambda training: 50.0 + 5 * bool(training.settings))

    def find(training: Training, seed: int) -> Record | None:
        found = better(training, seed)
        return None if found is None else replace(found, validation_accuracy=50.0 + noise(str(training), seed))

    assert len(ablate(SMALL, better, SEEDS).kept) > 3
    assert len(ablate(SMALL, find, SEEDS).kept) <= 1  # of forty that do nothing one is kept by chance
