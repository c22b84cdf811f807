"""Equation 1 against the paper's tables, and the networks that follow from the order."""

import pytest

from deepreduce.errors import ModelError, SettingError
from deepreduce.networks import ModelSource
from deepreduce.networks.layout import Layout, ReluSite
from deepreduce.search import criticality, culling_order
from deepreduce.search.candidates import all_trainings, candidates, profiling_points, unthinnable
from deepreduce.search.criticality import RankAgreement, rank_agreement
from deepreduce.search.strategies.warm_starts import parents, roots

RESNET18 = {
    "accuracy": {"S1": 59.85, "S2": 68.79, "S3": 69.90, "S4": 63.16},
    "relus": {"S1": 262_144, "S2": 131_072, "S3": 65_536, "S4": 32_768},
}


@pytest.mark.parametrize(
    ("accuracy", "relus", "expected"),
    [
        ({"S1": 59.45, "S2": 67.97, "S3": 69.22}, {"S1": 311_300, "S2": 147_500, "S3": 73_730}, [0.0, 6.0, 7.2]),
        (RESNET18["accuracy"], RESNET18["relus"], [0, 6.35, 7.50, 2.59]),
        (  # ResNet18 on TinyImageNet, recomputed; the published column used counts doubled
            {"S1": 39.61, "S2": 49.44, "S3": 54.34, "S4": 51.46},
            {"S1": 1_049_000, "S2": 524_000, "S3": 262_000, "S4": 131_000},
            [0, 6.34, 9.98, 8.42],
        ),
        (  # MobileNetV2
            {"S1": 34.25, "S2": 46.93, "S3": 53.06, "S4": 57.28, "S5": 50.49},
            {"S1": 196_600, "S2": 110_600, "S3": 58_400, "S4": 27_600, "S5": 32_400},
            [0, 9.12, 14.15, 18.26, 12.73],
        ),
    ],
)
def test_known_answers(accuracy, relus, expected):
    values = criticality(accuracy, relus)
    assert list(values.values()) == pytest.approx(expected, abs=0.06)


def test_published_orders():
    values = criticality(**RESNET18)
    assert culling_order(values, ("S1", "S2", "S3", "S4")) == ("S1", "S4", "S2", "S3")


def test_exponent_trades_accuracy_for_relus():
    accuracy, relus = {"A": 50.0, "B": 60.0, "C": 61.0}, {"A": 1000, "B": 1000, "C": 64_000}
    assert culling_order(criticality(accuracy, relus, 0.0), ("A", "B", "C")) == ("A", "B", "C")
    assert culling_order(criticality(accuracy, relus, 0.5), ("A", "B", "C")) == ("A", "C", "B")


def test_the_fifteen_networks_of_resnet18():
    layout = ModelSource("resnet18").build().layout
    assert list(profiling_points(layout)) == ["S1", "S2", "S3", "S4"]
    found = candidates(layout, ("S1", "S4", "S2", "S3"), 0.5, 0.5)
    assert [str(c.point) for c in found] == [
        "S2+S3+S4", "S2^RT+S3^RT+S4^RT", "S2^RT+S3^RT+S4^RT, alpha=0.5",
        "S2^RT+S3^RT+S4^RT, rho=0.5", "S2^RT+S3^RT+S4^RT, alpha=0.5, rho=0.5",
        "S2+S3", "S2^RT+S3^RT", "S2^RT+S3^RT, alpha=0.5", "S2^RT+S3^RT, rho=0.5", "S2^RT+S3^RT, alpha=0.5, rho=0.5",
        "S3", "S3^RT", "S3^RT, alpha=0.5", "S3^RT, rho=0.5", "S3^RT, alpha=0.5, rho=0.5",
    ]  # fmt: skip
    assert [c.step for c in found[:5]] == ["culled", "thinned", "channels", "resolution", "both"]


def test_a_single_relu_layer_stays_whole():
    layout = ModelSource("resnet9").build().layout
    assert unthinnable(layout) == ("S1",)
    found = candidates(layout, ("S4", "S3", "S2", "S1"), 0.5, 0.5)
    assert str(found[1].point) == "S1+S2^RT+S3^RT"
    assert [c.step for c in found[-4:]] == ["culled", "channels", "resolution", "both"]  # S1 alone


def test_one_stage_has_no_candidates():
    layout = Layout((ReluSite("relu", "relu", "stem", 0, False), ReluSite("relu_1", "relu_1", "S1", 0, True)))
    with pytest.raises(ModelError, match="D = 1"):
        profiling_points(layout)


def test_every_training_of_the_paper_is_counted_once():
    """24 with the teacher, of which one is both a stage alone and the last culled network."""
    found = all_trainings(ModelSource("resnet18").build().layout, ("S1", "S4", "S2", "S3"), 0.5, 0.5)
    assert len(found) == len(set(found)) == 8 + 15 - 1


def test_short_trainings_start_from_the_nearest_network():
    layout = ModelSource("resnet18").build().layout
    found = candidates(layout, ("S1", "S4", "S2", "S3"), 0.5, 0.5)
    origins = parents(found)
    # culled <- teacher, thinned <- culled, channels <- channels of the iteration before, resolution <- thinned
    assert origins == [None, 0, None, 1, 2, None, 5, 2, 6, 7, None, 10, 7, 11, 12]
    assert roots(found, origins) == {2}


def test_where_nothing_can_be_thinned_resolution_follows_culling():
    found = candidates(ModelSource("resnet9").build().layout, ("S4", "S3", "S2", "S1"), 0.5, 0.5)
    origins = parents(found)
    assert found[-2].step == "resolution"
    assert origins[-2] is not None
    assert found[origins[-2]].step == "culled"


def test_channels_that_are_not_scaled_start_from_the_teacher():
    found = candidates(ModelSource("resnet18").build().layout, ("S1", "S4", "S2", "S3"), 1.0, 0.5)
    assert roots(found, parents(found)) == set()


def test_rank_agreement():
    one = {"S1": 0.0, "S2": 3.0, "S3": 4.0, "S4": 1.0}
    assert rank_agreement(one, one) == RankAgreement(1.0, 1.0, True)
    swapped = rank_agreement(one, one | {"S2": 4.0, "S3": 3.0})
    assert swapped.kendall_tau == pytest.approx(4 / 6)
    assert swapped.spearman_rho == pytest.approx(0.8)
    assert not swapped.same_order
    assert rank_agreement(one, {stage: -value for stage, value in one.items()}).kendall_tau == pytest.approx(-1)
    assert rank_agreement(one, dict.fromkeys(one, 2.0)) == RankAgreement(None, None, False)
    with pytest.raises(SettingError, match="in common"):
        rank_agreement(one, {"S1": 1.0, "other": 2.0})
