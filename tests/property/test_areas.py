"""Hypervolume against a grid of cells, and what survives halving."""

from itertools import pairwise
from math import log10

import pytest
from hypothesis import given, settings, strategies as st

from deepreduce.search.hypervolume import Reference, hypervolume
from deepreduce.search.strategies.successive_halving import survivors

POINT = st.tuples(st.integers(0, 60), st.integers(0, 40).map(float))
POINTS = st.lists(POINT, max_size=8)
REFERENCE = Reference(50, 5.0, "given")


def by_cells(points: list[tuple[int, float]], reference: Reference) -> float:
    """The plane cut at every coordinate: each cell counts if some point dominates it."""
    relus = sorted({n for n, _ in points if 0 < n < reference.relus} | {reference.relus})
    scores = sorted({score for _, score in points if score > reference.accuracy} | {reference.accuracy})
    area = 0.0
    for left, right in pairwise(relus):
        for low, high in pairwise(scores):
            if any(0 < n <= left and score >= high for n, score in points):
                area += (log10(right) - log10(left)) * (high - low)
    return area


@given(POINTS)
def test_area_equals_the_sum_of_dominated_cells(points):
    assert hypervolume(points, REFERENCE) == pytest.approx(by_cells(points, REFERENCE))


@given(POINTS, POINT)
def test_a_further_point_never_takes_away(points, further):
    assert hypervolume([*points, further], REFERENCE) >= hypervolume(points, REFERENCE) - 1e-9


@given(POINTS, st.randoms())
def test_order_does_not_matter(points, random):
    shuffled = random.sample(points, len(points))
    assert hypervolume(shuffled, REFERENCE) == pytest.approx(hypervolume(points, REFERENCE))


@given(POINTS, st.integers(0, 10))
def test_as_many_survive_as_asked(points, count):
    chosen = survivors(points, count, REFERENCE)
    assert len(chosen) == min(count, len(points))
    assert chosen == sorted(set(chosen))


@given(POINTS, st.integers(1, 8))
def test_what_beats_all_others_survives(points, count):
    best = (min([n for n, _ in points], default=9), max([score for _, score in points], default=9.0) + 1)
    assert len(points) in survivors([*points, best], count, REFERENCE)


@settings(max_examples=50)
@given(POINTS, st.integers(0, 8))
def test_nothing_that_survives_is_beaten_by_what_does_not(points, count):
    chosen = survivors(points, count, REFERENCE)
    kept = [points[i] for i in chosen]
    dropped = [points[i] for i in range(len(points)) if i not in chosen]
    for relus, score in dropped:
        assert not any(relus <= n and score >= s and (relus, score) != (n, s) for n, s in kept)
