"""The strong recipe, the teacher's own, and what of them a search and its folder know."""

import dataclasses

import pytest

from deepreduce.cli.commands.search import _recipes
from deepreduce.errors import SettingError, StoreError
from deepreduce.jobs.workspace import Workspace
from deepreduce.networks import ModelSource
from deepreduce.search.config import DEFAULTS, SearchConfig
from deepreduce.train import RECIPES, make_recipe, teacher_recipe_of
from small_data import stripes_dataset

DATA = stripes_dataset()
SOURCE = ModelSource("resnet6", 0.0625)
FULL = SOURCE.build(DATA.input_shape, 2, 0)


def method(recipe, teacher_recipe=None) -> SearchConfig:
    return SearchConfig(SOURCE, FULL, DATA, recipe, teacher_recipe or teacher_recipe_of(recipe), 0, 0.5, 0.5, 0.07)


def test_the_strong_recipe_has_every_ingredient():
    strong, teacher = RECIPES["strong"], RECIPES["strong-teacher"]
    assert (strong.schedule, strong.weight_decay, strong.epochs) == ("cosine", 5e-4, 120)
    assert strong.warm_start and strong.anneal and strong.attention_weight and strong.ema_decay
    assert (teacher.schedule, teacher.weight_decay, teacher.epochs) == ("cosine", 5e-4, 120)
    assert teacher.cutmix or teacher.label_smoothing
    assert not (teacher.warm_start or teacher.anneal or teacher.attention_weight)


def test_which_recipe_trains_the_teacher():
    assert teacher_recipe_of(RECIPES["strong"]) == RECIPES["strong-teacher"]
    assert teacher_recipe_of(make_recipe("strong", anneal=0.1)) == RECIPES["strong-teacher"]
    brief = make_recipe("strong", epochs=3, precision="bf16", warm_start=False)
    assert teacher_recipe_of(brief) == make_recipe("strong-teacher", epochs=3, precision="bf16")
    for name in ("paper", "quick"):
        assert teacher_recipe_of(RECIPES[name]) == RECIPES[name]
    # Students that differ in what only students have share a teacher.
    students = [
        make_recipe("paper", anneal=a, warm_start=w, attention_weight=b) for a, w, b in ((0, 1, 0), (0.5, 0, 9))
    ]
    assert {teacher_recipe_of(recipe) for recipe in students} == {RECIPES["paper"]}


def test_the_command_line_changes_every_training_and_the_teacher_apart():
    student, teacher = _recipes("strong", {"epochs": 7, "anneal": "0.2", "flip": "no"}, None, {"cutmix": "0.5"})
    assert student == make_recipe("strong", epochs=7, anneal=0.2, flip=False)
    assert teacher == make_recipe("strong-teacher", epochs=7, flip=False, cutmix=0.5)
    student, teacher = _recipes("quick", {"epochs": 7, "warm_start": "yes"}, None, {})
    assert student.warm_start and teacher == make_recipe("quick", epochs=7)
    assert _recipes("quick", {"epochs": 2}, "paper", {"epochs": "3"})[1] == make_recipe("paper", epochs=3)
    with pytest.raises(SettingError, match="did you mean 'strong-teacher'"):
        _recipes("paper", {}, "strong-teachr", {})
    with pytest.raises(SettingError, match="unknown recipe setting 'cutmx'"):
        _recipes("paper", {}, None, {"cutmx": "1"})


def test_the_teachers_job_has_the_teachers_recipe():
    strong = method(RECIPES["strong"])
    teacher = strong.spec(FULL.point, None)
    student = strong.spec(dataclasses.replace(FULL.point, terms=FULL.point.terms[:2]), teacher.digest)
    assert (teacher.recipe, student.recipe) == (RECIPES["strong-teacher"], RECIPES["strong"])
    assert strong.settings()["teacher_recipe"] == dataclasses.asdict(RECIPES["strong-teacher"])
    assert "teacher_recipe" not in method(RECIPES["paper"]).settings()
    annealed = method(make_recipe("paper", anneal=0.5))
    assert annealed.spec(FULL.point, None).digest == method(RECIPES["paper"]).spec(FULL.point, None).digest


def test_a_folder_from_before_the_new_settings_goes_on(tmp_path):
    paper = method(RECIPES["paper"]).identity()
    older = {
        **paper,
        "recipe": {k: v for k, v in paper["recipe"].items() if k not in ("anneal", "warm_start", "attention_weight")},
    }
    space = Workspace(tmp_path / "x")
    with space.claim(older):
        pass
    with space.claim(paper, DEFAULTS):
        pass
    for changed in (make_recipe("paper", anneal=0.5), RECIPES["strong"]):
        with pytest.raises(StoreError, match="another search"), space.claim(method(changed).identity(), DEFAULTS):
            pass
    with (
        pytest.raises(StoreError, match="teacher_recipe"),
        space.claim(method(RECIPES["paper"], make_recipe("paper", cutmix=1)).identity(), DEFAULTS),
    ):
        pass
