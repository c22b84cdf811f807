"""One grammar for the names of reduced networks."""

import pytest
from hypothesis import given, strategies as st

from deepreduce.errors import PointError
from deepreduce.networks import Point, Term, parse_point

STAGES = ("stem", "S1", "S2", "S3", "S4")

terms = st.builds(
    Term, st.sampled_from(STAGES), st.sampled_from([None, "inner", "outer"]), st.one_of(st.none(), st.integers(1, 9))
)
scales = st.sampled_from([1.0, 0.5, 0.25, 0.75, 0.125])
points = st.builds(
    lambda found, *rest: Point(tuple(sorted(found, key=lambda t: STAGES.index(t.stage))), *rest),
    st.lists(terms, unique_by=lambda t: t.stage),
    scales,
    scales,
    st.one_of(st.none(), st.integers(1, 10**9)),
)


@given(points)
def test_names_read_back(point):
    assert parse_point(str(point), STAGES) == point


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("S2^RT+S3^RT, alpha=0.5, rho=0.5", "S2^RT+S3^RT, alpha=0.5, rho=0.5"),
        ("S3+S2", "S2+S3"),
        ("S2^{RT} + S3 ,rho=.5", "S2^RT+S3, rho=0.5"),
        ("S2*", "S2*"),
        ("S2*2^RT", "S2^RT*2"),
        ("S2^RT[outer]", "S2^RT[outer]"),
        ("full", "stem+S1+S2+S3+S4"),
        ("none", "none"),
        ("none, alpha=0.5", "none, alpha=0.5"),
        ("S2^RT, relus=25000, rho=0.5", "S2^RT, rho=0.5, relus=25000"),
    ],
)
def test_spellings(text, name):
    assert str(parse_point(text, STAGES)) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("S5", "no stage 'S5'"),
        ("S2+S2", "twice"),
        ("S2^XX", "cannot read"),
        ("S2^RT^RT", "cannot read"),
        ("S2*0", "keeps no block"),
        ("S2, beta=1", "only alpha"),
        ("S2, alpha=two", "not a number"),
        ("S2, alpha=0", "not in"),
        ("S2, relus=0", "not a whole number"),
        ("S2, relus=1e4", "not a whole number"),
        ("S2, relus=-3", "not a whole number"),
        ("S2, rho=2", "not in"),
        ("S2, rho=nan", "not in"),
        ("", "cannot read"),
        ("+", "cannot read"),
    ],
)
def test_refusals(text, reason):
    with pytest.raises(PointError, match=reason):
        parse_point(text, STAGES)
