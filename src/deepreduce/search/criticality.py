"""Which stages' ReLUs matter: Equation 1 of the paper."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import SettingError

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
    """Raise `SettingError` for a w that is no number from 0 to 10."""
    if not 0 <= exponent <= 10:
        raise SettingError(f"criticality exponent {exponent:g} is not in [0, 10]", "the paper's w is 0.07")


def culling_order(criticalities: Mapping[str, float], stages: tuple[str, ...]) -> tuple[str, ...]:
    """``stages`` from least to most critical; equals keep their order in the network (the earlier has more ReLUs)."""
    return tuple(sorted(stages, key=lambda stage: criticalities[stage]))
