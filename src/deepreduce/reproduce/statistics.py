"""Means, spreads and paired comparisons over seeds, by Student's t.

Two trainings of one seed share the teacher, the order of the images and their augmentation, so they are compared by
their difference, seed by seed. Of ``comparisons`` that one claim makes together each gets the level ``1 - 0.05 /
comparisons`` (Bonferroni): all of its intervals hold together with 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import MissingPackageError, SettingError

ERROR = 0.05  # of all intervals of one claim together

_COLUMNS = (1, 2, 3, 4, 6)
# Two-sided quantiles at the level 1 - ERROR / comparisons, a row for each number of degrees of freedom from 1, so that
# results can be written where scipy is not installed. A test compares them with scipy's.
_QUANTILES = (
    (12.7062, 25.4517, 38.1885, 50.9230, 76.3900),
    (4.3027, 6.2053, 7.6488, 8.8602, 10.8859),
    (3.1824, 4.1765, 4.8567, 5.3919, 6.2315),
    (2.7764, 3.4954, 3.9608, 4.3147, 4.8510),
    (2.5706, 3.1634, 3.5341, 3.8100, 4.2193),
    (2.4469, 2.9687, 3.2875, 3.5212, 3.8630),
    (2.3646, 2.8412, 3.1276, 3.3353, 3.6358),
    (2.3060, 2.7515, 3.0158, 3.2060, 3.4789),
    (2.2622, 2.6850, 2.9333, 3.1109, 3.3642),
    (2.2281, 2.6338, 2.8701, 3.0382, 3.2768),
    (2.2010, 2.5931, 2.8200, 2.9809, 3.2081),
    (2.1788, 2.5600, 2.7795, 2.9345, 3.1527),
    (2.1604, 2.5326, 2.7459, 2.8961, 3.1070),
    (2.1448, 2.5096, 2.7178, 2.8640, 3.0688),
    (2.1314, 2.4899, 2.6937, 2.8366, 3.0363),
    (2.1199, 2.4729, 2.6730, 2.8131, 3.0083),
    (2.1098, 2.4581, 2.6550, 2.7925, 2.9840),
    (2.1009, 2.4450, 2.6391, 2.7745, 2.9627),
    (2.0930, 2.4334, 2.6251, 2.7586, 2.9439),
    (2.0860, 2.4231, 2.6126, 2.7444, 2.9271),
    (2.0796, 2.4138, 2.6013, 2.7316, 2.9121),
    (2.0739, 2.4055, 2.5912, 2.7201, 2.8985),
    (2.0687, 2.3979, 2.5820, 2.7097, 2.8863),
    (2.0639, 2.3909, 2.5736, 2.7002, 2.8751),
    (2.0595, 2.3846, 2.5660, 2.6916, 2.8649),
    (2.0555, 2.3788, 2.5589, 2.6836, 2.8555),
    (2.0518, 2.3734, 2.5525, 2.6763, 2.8469),
    (2.0484, 2.3685, 2.5465, 2.6695, 2.8389),
    (2.0452, 2.3638, 2.5409, 2.6632, 2.8316),
    (2.0423, 2.3596, 2.5357, 2.6574, 2.8247),
)


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
    this comparison alone, None where scipy is not installed.
    """

    seeds: tuple[int, ...]
    mean: float
    sd: float
    low: float
    high: float
    p: float | None
    comparisons: int

    @property
    def adjusted_p(self) -> float | None:
        """``p`` times the comparisons made together, at most 1: below 0.05 exactly where the interval leaves out 0."""
        return None if self.p is None else min(1.0, self.comparisons * self.p)


def t_quantile(freedom: int, comparisons: int = 1) -> float:
    """Half the width of an interval in standard errors, for ``freedom`` degrees of freedom.

    Up to 30 they come from a table, beyond it from scipy. Raises `MissingPackageError` without it.
    """
    if freedom < 1 or comparisons < 1:
        raise SettingError(f"no interval has {freedom} degrees of freedom in {comparisons} comparisons", "at least 1")
    if freedom <= len(_QUANTILES) and comparisons in _COLUMNS:
        return _QUANTILES[freedom - 1][_COLUMNS.index(comparisons)]
    try:
        from scipy.stats import t
    except ImportError as error:
        raise MissingPackageError(
            f"intervals of {comparisons} comparisons with {freedom} degrees of freedom need scipy",
            "pip install 'deepreduce[search]'",
        ) from error
    return float(t.isf(ERROR / comparisons / 2, freedom))


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
    try:
        p = paired_p(found.n, found.mean, found.sd)
    except MissingPackageError:
        p = None
    return Paired(seeds, found.mean, found.sd, found.low, found.high, p, comparisons)


def paired_p(n: int, mean: float, sd: float) -> float:
    """Return the two-sided p value of ``n`` differences with that mean and standard deviation. Needs scipy."""
    try:
        from scipy.stats import t
    except ImportError as error:
        raise MissingPackageError("p values need scipy", "pip install 'deepreduce[search]'") from error
    if sd == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * t.sf(abs(mean) / (sd / math.sqrt(n)), n - 1))
