"""Jobs made of descriptions: what a scale changes of them, and what scales have in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deepreduce.reproduce.job_factory import JobFactory
from deepreduce.reproduce.records import Records
from deepreduce.reproduce.scale import find_scale
from deepreduce.reproduce.session import lookup
from deepreduce.reproduce.training import Training
from reproduce_fixture import record

DIGESTS = {"cifar100": "95804a6e9fda33fac06f3b83587c14ad983eaf8341f44ac51a460789e680f501"}
STUDENT = Training("resnet6", "S2")


@pytest.fixture(scope="module")
def brief() -> JobFactory:
    return JobFactory(find_scale("small"), Path("unused"), DIGESTS)


@pytest.fixture(scope="module")
def taught() -> JobFactory:
    return JobFactory(find_scale("small-taught"), Path("unused"), DIGESTS)


def test_only_teachers_are_trained_for_longer(taught: JobFactory) -> None:
    student = STUDENT.distilled()
    teacher = taught.teacher(student)
    assert teacher is not None and taught.recipe(teacher).epochs == 8
    assert taught.recipe(student).epochs == taught.recipe(Training()).epochs == 2
    assert taught.spec(student, 0).teacher == taught.spec(teacher, 0).digest != taught.spec(Training(), 0).digest


def test_a_teachers_own_settings_stay(taught: JobFactory) -> None:
    teacher = taught.teacher(STUDENT.distilled(Training(settings=(("cutmix", 1.0),))))
    assert teacher is not None
    assert (taught.recipe(teacher).epochs, taught.recipe(teacher).cutmix) == (8, 1.0)


def test_what_begins_as_its_teacher_begins_as_the_one_that_distills(taught: JobFactory) -> None:
    begun = replace(STUDENT.distilled(), start=Training())
    assert taught.spec(begun, 0).start == taught.spec(begun, 0).teacher
    assert len(taught.needs(begun)) == 1
    other = replace(STUDENT.distilled(), start=STUDENT)
    assert taught.spec(other, 0).start == taught.spec(STUDENT, 0).digest
    assert len(taught.needs(other)) == 2


def test_the_papers_rule_is_that_of_the_others(brief: JobFactory) -> None:
    student = STUDENT.distilled()
    assert brief.teacher(student) == Training()
    assert brief.spec(student, 0).teacher == brief.spec(Training(), 0).digest


def test_scales_share_what_is_not_distilled(brief: JobFactory, taught: JobFactory, tmp_path: Path) -> None:
    records = Records(tmp_path / "records.jsonl")
    records.add(replace(record(STUDENT, 0, 31.0), digest=brief.spec(STUDENT, 0).digest))
    records.add(replace(record(STUDENT.distilled(), 0, 32.0), digest=brief.spec(STUDENT.distilled(), 0).digest))
    find = lookup([taught], records)
    found = find(STUDENT, 0)
    assert found is not None and found.test_accuracy == 31.0
    assert find(STUDENT.distilled(), 0) is None


def test_medium_computes_as_the_processor_can(monkeypatch: pytest.MonkeyPatch) -> None:
    medium = find_scale("medium")
    digests = set()
    for native, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("deepreduce.reproduce.scale.native_bf16", lambda native=native: native)
        here = JobFactory(medium.for_this_processor(), Path("unused"), DIGESTS)
        assert here.recipe(STUDENT).precision == precision
        digests.add(here.spec(STUDENT, 1).digest)
    assert len(digests) == 2  # precision is part of what identifies a training
    small = find_scale("small")
    assert small.for_this_processor() is small and small.variants() == (small,)


def test_a_seed_is_read_in_the_precision_that_most_of_it_was_computed_in(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.jsonl")
    labs = [JobFactory(variant, Path("unused"), DIGESTS) for variant in find_scale("medium").variants()]
    other = Training("resnet6", "S3")
    for lab, training, seed, accuracy in (
        (labs[0], STUDENT, 1, 50.0),
        (labs[1], STUDENT, 1, 40.0),
        (labs[1], other, 1, 41.0),
        (labs[0], STUDENT, 2, 51.0),
    ):
        settings = {"precision": lab.scale.recipe.precision}
        made = replace(record(training, seed, accuracy), settings=settings, scale="medium")
        records.add(replace(made, digest=lab.spec(training, seed).digest))
    find = lookup(labs, records)
    accuracies = [found and found.test_accuracy for found in (find(STUDENT, 1), find(other, 1), find(STUDENT, 2))]
    assert accuracies == [40.0, 41.0, 51.0]
    assert find(other, 2) is None
