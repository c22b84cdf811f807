"""Which stages' ReLUs matter: Equation 1 of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import MissingPackageError, SettingError

EXPONENT = 0.07


def criticality(
    accuracy: Mapping[str, float], relus: Mapping[str, int], exponent: float = EXPONENT
) -> dict[str, float]:
    """C_k = (Acc[S_k] - min_i Acc[S_i]) / (#ReLU[S_k] in thousands)^w for every stage (paper, Eq. 1).

    ``accuracy`` is in percent, of the network that keeps only S_k's ReLUs, trained with distillation; ``exponent`` is
    w. The published values are those for ReLUs counted in thousands.
    """
    check_exponent(exponent)
    least = min(accuracy.values())
    return {stage: (value - least) / (relus[stage] / 1000) ** exponent for stage, value in accuracy.items()}


def check_exponent(exponent: float) -> None:
    """Raise `SettingError` for a w that is not a number from 0 to 10."""
    if not 0 <= exponent <= 10:
        raise SettingError(f"criticality exponent {exponent:g} is not in [0, 10]", "the paper's w is 0.07")


def culling_order(criticalities: Mapping[str, float], stages: tuple[str, ...]) -> tuple[str, ...]:
    """``stages`` from least to most critical; equals keep their order in the network (the earlier has more ReLUs)."""
    return tuple(sorted(stages, key=lambda stage: criticalities[stage]))


@dataclass(frozen=True)
class RankAgreement:
    """Agreement of two tables on the order of stages: both are 1 for the same order, -1 for the reverse; None if
    undefined.
    """

    kendall_tau: float | None
    spearman_rho: float | None
    same_order: bool


def rank_agreement(one: Mapping[str, float], other: Mapping[str, float]) -> RankAgreement:
    """Kendall's tau-b and Spearman's rho of two tables of criticalities, over the stages that both have.

    Undefined (None) where a table holds one value only. Raises `SettingError` for fewer than two common stages,
    `MissingPackageError` without scipy.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingPackageError("rank agreement needs scipy", "pip install 'deepreduce[search]'") from error
    stages = tuple(stage for stage in one if stage in other)
    if len(stages) < 2:
        raise SettingError(f"the tables have {len(stages)} stages in common", "compare searches of one network")
    pairs = [one[s] for s in stages], [other[s] for s in stages]
    same = culling_order(one, stages) == culling_order(other, stages)
    if min(len(set(values)) for values in pairs) == 1:
        return RankAgreement(None, None, same)
    tau, rho = stats.kendalltau(*pairs).statistic, stats.spearmanr(*pairs).statistic
    return RankAgreement(float(tau), float(rho), same)
