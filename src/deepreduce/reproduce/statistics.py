"""Means, spreads and paired comparisons over seeds, by Student's t.

Two trainings of one seed share the teacher, the order of the images and their augmentation, so they are compared by
their difference, seed by seed. Of ``comparisons`` that one claim makes together each gets the level ``1 - 0.05 /
comparisons`` (Bonferroni): all of its intervals hold together with 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import MissingPackageError, SettingError

ERROR = 0.05  # of all intervals of one claim together


@dataclass(frozen=True)
class SeedSummary:
    """``n`` values: their mean, sample standard deviation and interval of the mean; None where ``n`` is too small."""

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Paired:
    """Differences ``a - b`` over common ``seeds``, which are at least two.

    ``low`` to ``high`` holds the mean at the level ``1 - 0.05 / comparisons``; ``p`` is that of the paired t-test for
    this comparison alone.
    """

    seeds: tuple[int, ...]
    mean: float
    sd: float
    low: float
    high: float
    p: float
    comparisons: int

    @property
    def adjusted_p(self) -> float:
        """``p`` times the comparisons made together, at most 1: below 0.05 exactly where the interval leaves out 0."""
        return min(1.0, self.comparisons * self.p)


def t_quantile(freedom: int, comparisons: int = 1) -> float:
    """Return half the width of an interval in standard errors, for ``freedom`` degrees of freedom.

    Raises `SettingError` where there is no such interval, `MissingPackageError` without scipy.
    """
    if freedom < 1 or comparisons < 1:
        raise SettingError(f"no interval has {freedom} degrees of freedom in {comparisons} comparisons", "at least 1")
    return float(_student_t().isf(ERROR / comparisons / 2, freedom))


def summarize(values: Sequence[float], comparisons: int = 1) -> SeedSummary:
    """Mean, standard deviation and interval of ``values``. Raises `SettingError` where there is none."""
    if not values:
        raise SettingError("no values have no mean", "run a seed first")
    n, mean = len(values), math.fsum(values) / len(values)
    if n < 2:
        return SeedSummary(n, mean, None, None, None)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = t_quantile(n - 1, comparisons) * sd / math.sqrt(n)
    return SeedSummary(n, mean, sd, mean - half, mean + half)


def compare(a: Mapping[int, float], b: Mapping[int, float], comparisons: int = 1) -> Paired | None:
    """Return the paired comparison of two numbers per seed over the seeds that both have; None with fewer than two."""
    seeds = tuple(sorted(a.keys() & b.keys()))
    if len(seeds) < 2:
        return None
    differences = [a[seed] - b[seed] for seed in seeds]
    found = summarize(differences, comparisons)
    assert found.sd is not None and found.low is not None and found.high is not None
    return Paired(
        seeds, found.mean, found.sd, found.low, found.high, paired_p(found.n, found.mean, found.sd), comparisons
    )


def paired_p(n: int, mean: float, sd: float) -> float:
    """Return the two-sided p value of ``n`` differences with that mean and standard deviation."""
    if sd == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * _student_t().sf(abs(mean) / (sd / math.sqrt(n)), n - 1))


def _student_t() -> Any:
    """Return scipy's distribution: it comes with the extra that brings torch."""
    try:
        from scipy.stats import t
    except ImportError as error:
        raise MissingPackageError("intervals and p values need scipy", "pip install 'deepreduce[search]'") from error
    return t
