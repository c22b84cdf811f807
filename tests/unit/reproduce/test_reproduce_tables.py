"""The paper's tables as declared: every row builds, and costs what is printed."""

from functools import cache
from pathlib import Path

import pytest

from deepreduce.networks.counting import NetworkCost
from deepreduce.networks.point import parse_point
from deepreduce.reproduce.job_factory import SHAPES, JobFactory
from deepreduce.reproduce.scale import SCALES, find_scale
from deepreduce.reproduce.table import Row, Table, agrees, printed_count
from deepreduce.reproduce.tables import STUDIES, TABLES
from deepreduce.reproduce.tables.layers import readings
from deepreduce.reproduce.training import Training
from deepreduce.search.criticality import criticality, culling_order

ROWS = [pytest.param(row, id=f"{table.name} {row.group} {row.label}") for table in TABLES for row in table.rows]
NAMES = (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12)


@cache
def lab(scale: str) -> JobFactory:
    return JobFactory(find_scale(scale), Path("unused"), dict.fromkeys(SHAPES, "0" * 64))


@cache
def full_cost(training: Training) -> NetworkCost:
    return lab("full").cost(training)


def test_everything_that_is_ours_to_run_is_there():
    others = {"figure1", "figure3", "figure5", "stages", "claims", "ablation", "elements"}
    assert set(STUDIES) == {f"table{n}" for n in NAMES} | others
    assert all(study.title for study in STUDIES.values())
    for table in TABLES:
        labels = [(row.group, row.label) for row in table.rows]
        assert len(set(labels)) == len(labels), table.name
        assert {cell.column for row in table.rows for cell in row.cells} <= set(table.columns)


@pytest.mark.parametrize("row", ROWS)
def test_counts_are_the_printed_ones(row: Row):
    if row.training is None or not row.relus:
        return
    counted = full_cost(row.training).relus
    if row.differs:
        assert not agrees(counted, row.relus), "an exception that is none"
    else:
        assert agrees(counted, row.relus), f"{counted:,} counted, {row.relus} printed"


def test_printed_counts_are_read_with_their_digits():
    assert printed_count("229.38K") == (229_380, pytest.approx(229.38))
    assert agrees(229_376, "229.38K")
    assert agrees(24_576, "24.57K")  # cut off, not rounded
    assert not agrees(98_304, "49.2K")
    assert not agrees(67_000, "65.5K")


@pytest.mark.parametrize("scale", SCALES)
def test_every_training_has_a_job_of_its_own(scale):
    trainings = dict.fromkeys(t for table in TABLES for t in table.trainings)
    assert len(trainings) > 100
    point_names = {str(t): (t.network, t.point, t.data, t.teacher, t.start, t.prune) for t in trainings}
    assert len(point_names) <= len(trainings)
    # Hashing each of the large networks takes a second: at full scale those of one table stand for all.
    chosen = trainings if scale == "small" else [t for t in trainings if t.network == "resnet56"]
    digests = {lab(scale).spec(training, 0).digest for training in chosen}
    assert len(digests) == len(chosen)
    for training in chosen:
        spec = lab(scale).spec(training, 0)
        assert (spec.teacher is not None) == training.kd
        assert spec.recipe == SCALES[scale].recipe


def test_the_digests_of_committed_records_do_not_move():
    """The job of the full ResNet18 at scale small, as recorded: whoever changes it makes all results unknown."""
    digest = "95804a6e9fda33fac06f3b83587c14ad983eaf8341f44ac51a460789e680f501"
    small = JobFactory(find_scale("small"), Path("unused"), {"cifar100": digest})
    assert small.spec(Training(), 0).digest == "183304bcdc49a1376c112b3e"


def test_points_are_legal_and_teachers_unreduced():
    for table in TABLES:
        for training in table.trainings:
            assert training.teacher is None or training.teacher.point == "full"
            assert training.teacher is None or training.teacher.teacher is None
            if training.network.startswith("resnet") and training.network != "resnet56":
                parse_point(training.point, ("stem", "S1", "S2", "S3", "S4"))


@pytest.mark.parametrize("table", [t for t in TABLES if t.rankings], ids=lambda t: t.name)
def test_the_printed_orders_follow_from_the_printed_accuracies(table: Table):
    for ranking in table.rankings:
        rows = [row for row in table.rows if row.group == ranking.group and row.stage and row.cells]
        accuracies = {row.stage: next(c.paper for c in row.cells if c.column == "with KD") for row in rows}
        relus = {row.stage: int(printed_count(row.relus)[0]) for row in rows}
        found = criticality(accuracies, relus)
        known = tuple(stage for stage in ranking.paper if stage in found)
        assert culling_order(found, tuple(found)) == known
        if table.name == "table10":  # where the printed values do follow from the printed numbers
            printed = {row.stage: row.criticality for row in rows}
            assert {stage: round(value, 1) for stage, value in found.items()} == printed


def test_the_layers_of_the_figures_are_read():
    from deepreduce.networks.counting import count
    from deepreduce.networks.source import ModelSource

    found = [reading.holds for reading in readings(count(ModelSource("resnet18").build((3, 32, 32), 100)))]
    assert found == [True, True, True]
    # Wide at first and narrow later would have them fail: the same layers, read backwards.
    profile = count(ModelSource("resnet18").build((3, 32, 32), 100))
    backwards = type(profile)(tuple(reversed(profile.layers)), profile.stage_names, profile.notices)
    assert [reading.holds for reading in readings(backwards)] == [False, False, True]
