"""Memory for transformed weights: how much a plan may take beside others, and how much it does take."""

from __future__ import annotations

from ...plan import PARAMETER_SETS, Plan, packings
from ...plan.execution.packing import cached_ops, transformed_bytes
from .limits import free_memory


def allowed_bytes(most: int, others: int) -> int:
    """Return what one plan may take of ``most`` bytes of which ``others`` are taken; -1: half of what is free now."""
    return free_memory() // 2 if most < 0 else max(0, most - others)


def held_bytes(plan: Plan, allowed: int) -> int:
    """Return what the plan's transformed weights take, of what they may."""
    packed, parameters = packings(plan), PARAMETER_SETS[plan.parameter_set]
    return sum(transformed_bytes(packed[name], parameters) for name in cached_ops(packed, parameters, allowed))
