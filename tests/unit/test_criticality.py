"""Equation 1 against the paper's tables, and the networks that follow from the order."""

import pytest

from deepreduce.errors import ModelError
from deepreduce.networks import ModelSource
from deepreduce.networks.layout import Layout, ReluSite
from deepreduce.search import criticality, culling_order
from deepreduce.search.candidates import candidates, profiling_points, unthinnable

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
