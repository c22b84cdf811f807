"""Intervals and tests over seeds, against scipy and against what they promise."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, strategies as st

from deepreduce.errors import MissingPackageError, SettingError
from deepreduce.reproduce.statistics import compare, paired_p, summarize, t_quantile

scipy_stats = pytest.importorskip("scipy.stats")

FINITE = st.floats(-100, 100).map(lambda x: round(x, 3))


@pytest.mark.parametrize("comparisons", [1, 2, 3, 4, 5, 6, 10])
@pytest.mark.parametrize("freedom", [1, 2, 4, 9, 29, 30, 31, 200])
def test_quantiles_are_scipys(freedom: int, comparisons: int) -> None:
    expected = scipy_stats.t.ppf(1 - 0.025 / comparisons, freedom)
    assert t_quantile(freedom, comparisons) == pytest.approx(expected, rel=1e-12)


def test_no_degrees_of_freedom() -> None:
    with pytest.raises(SettingError, match="0 degrees"):
        t_quantile(0)
    with pytest.raises(SettingError):
        summarize([])


def test_a_summary() -> None:
    found = summarize([1.0, 2.0, 4.0])
    low, high = scipy_stats.t.interval(0.95, 2, loc=7 / 3, scale=scipy_stats.sem([1, 2, 4]))
    assert (found.n, found.mean, found.sd) == (3, pytest.approx(7 / 3), pytest.approx(np.std([1, 2, 4], ddof=1)))
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))
    alone = summarize([3.5])
    assert (alone.n, alone.mean, alone.sd, alone.low, alone.high) == (1, 3.5, None, None, None)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=2, max_size=12))
def test_the_paired_test_is_scipys(pairs: list[tuple[float, float]]) -> None:
    a, b = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    found = compare(a, b)
    assert found is not None
    differences = [x - y for x, y in pairs]
    if np.ptp(differences) > 1e-6:
        assert found.p == pytest.approx(scipy_stats.ttest_rel(*zip(*pairs, strict=True)).pvalue, abs=1e-9, rel=1e-6)
    assert found.low <= found.mean <= found.high
    flipped = compare(b, a)
    assert flipped is not None and flipped.mean == pytest.approx(-found.mean, abs=1e-9)


@given(st.lists(FINITE, min_size=3, max_size=10, unique=True), st.sampled_from([1, 2, 3, 4, 6]))
def test_an_interval_leaves_out_zero_exactly_where_p_is_small(differences: list[float], comparisons: int) -> None:
    found = compare(dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0), comparisons)
    assert found is not None and found.adjusted_p is not None
    if abs(found.adjusted_p - 0.05) > 1e-4:
        assert (found.low > 0 or found.high < 0) == (found.adjusted_p < 0.05)


def test_only_common_seeds_are_compared() -> None:
    assert compare({0: 1.0, 1: 2.0}, {1: 1.0, 2: 5.0}) is None
    found = compare({3: 1.5, 0: 1.0, 1: 2.0}, {0: 0.5, 3: 0.5, 2: 9.0})
    assert found is not None and (found.seeds, found.mean) == ((0, 3), 0.75)


def test_differences_without_spread() -> None:
    same = compare({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert same is not None and (same.low, same.high, same.p) == (0, 0, 1)
    assert paired_p(5, 1.0, 0.0) == 0


def test_intervals_cover_as_often_as_they_say() -> None:
    """4000 made-up experiments of five seeds: 95 % of the intervals hold the truth (false alarm rate below 1e-4)."""
    rng = np.random.default_rng(0)
    held = 0
    for values in rng.normal(0.3, 1.0, (4000, 5)):
        found = compare(dict(enumerate(values)), dict.fromkeys(range(5), 0.0))
        assert found is not None
        held += found.low <= 0.3 <= found.high
    assert abs(held / 4000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


def test_without_scipy_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    for call in (
        lambda: compare({0: 1.0, 1: 2.0, 2: 4.0}, {0: 0.0, 1: 0.5, 2: 2.0}, 3),
        lambda: paired_p(3, 1.0, 1.0),
        lambda: t_quantile(4, 7),
    ):
        with pytest.raises(MissingPackageError, match="need scipy"):
            call()


def test_importing_claims_loads_no_optional_package() -> None:
    code = (
        "import sys\nfrom deepreduce.reproduce.claims import ablation_page, claims_page\n"
        "assert not {'scipy', 'matplotlib', 'sklearn', 'jinja2', 'plotly'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
