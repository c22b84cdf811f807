"""The area of a frontier, its reference point, and the points that a halving keeps."""

from math import log10

import pytest

from deepreduce.errors import SettingError
from deepreduce.search.hypervolume import Reference, hypervolume, reference_of
from deepreduce.search.strategies.successive_halving import survivors

REFERENCE = Reference(100_000, 10.0, "chance")


def test_known_areas():
    assert hypervolume([], REFERENCE) == 0
    assert hypervolume([(10_000, 60.0)], REFERENCE) == pytest.approx(50)
    assert hypervolume([(1_000, 60.0)], REFERENCE) == pytest.approx(100)
    assert hypervolume([(10_000, 60.0), (1_000, 40.0)], REFERENCE) == pytest.approx(2 * 30 + 20)
    assert hypervolume([(10_000, 60.0), (20_000, 50.0)], REFERENCE) == pytest.approx(50)


def test_the_teacher_itself_and_what_is_worse_than_the_reference_add_nothing():
    assert hypervolume([(100_000, 90.0), (1_000, 10.0), (1_000, 3.0), (0, 50.0)], REFERENCE) == 0


def test_a_decade_counts_alike_wherever_it_is():
    assert hypervolume([(50_000, 20.0)], REFERENCE) == pytest.approx(10 * log10(2))


def test_the_accuracy_without_relus():
    points = [(1_000, 50.0), (0, 31.0), (0, 33.0)]
    assert reference_of(points, 5, 100, 40.0) == Reference(5, 40.0, "given")
    assert reference_of(points, 5, 100) == Reference(5, 33.0, "trained")
    assert reference_of(points[:1], 5, 100) == Reference(5, 1.0, "chance")
    with pytest.raises(SettingError, match="not in"):
        reference_of(points, 5, 100, 140.0)


def test_survivors_are_spread_over_the_range():
    """Eight points on one front, seven of them close together: the lonely one goes on."""
    points = [(50_000 + i, 60.0 + 0.01 * i) for i in range(7)] + [(500, 30.0)]
    assert 7 in survivors(points, 2, REFERENCE)


def test_fronts_are_taken_in_their_order():
    points = [(1_000, 30.0), (1_000, 20.0), (2_000, 40.0), (2_000, 39.0), (3_000, 39.5)]
    assert survivors(points, 2, REFERENCE) == [0, 2]
    assert survivors(points, 4, REFERENCE) == [0, 2, 3, 4] or survivors(points, 4, REFERENCE) == [0, 1, 2, 3]
    assert survivors(points, 9, REFERENCE) == [0, 1, 2, 3, 4]
    assert survivors(points, 0, REFERENCE) == []
