"""The first part of a search: the teacher, each stage alone, and the order in which stages are culled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import TrainingError
from ..criticality import criticality, culling_order
from ..planner import Entry, Trainings

Row = dict[str, Any]


def plan_teacher(trainings: Trainings) -> Entry:
    """Return the unreduced network's training."""
    point = trainings.method.full.point
    teacher = trainings.plan("teacher", "full", point, trainings.method.spec(point, None))
    assert teacher is not None
    return teacher


def check_teacher(trainings: Trainings, teacher: Entry) -> None:
    """Raise `TrainingError` if the teacher failed: nothing can go on without it."""
    reason = trainings.failure(teacher)
    if reason is not None:
        raise TrainingError(f"the teacher failed: {reason}")


def criticality_table(
    trainings: Trainings, distilled: Mapping[str, Entry | None], plain: Mapping[str, Entry | None] | None = None
) -> list[Row]:
    """Return the criticality table in culling order, from each stage's training with distillation and, if any, without.

    A stage whose profiling failed is culled first, with a notice. Raises `TrainingError` if all failed.
    """
    measured = {stage: trainings.accuracy(entry) for stage, entry in distilled.items()}
    known = {stage: value for stage, value in measured.items() if value is not None}
    if not known:
        raise TrainingError("every profiling run failed", "see the reasons above")
    relus = {stage: entry.cost.relus for stage, entry in distilled.items() if entry is not None}
    values = criticality(known, relus, trainings.method.exponent)
    for stage in measured.keys() - known.keys():
        trainings.notice(f"stage {stage} could not be profiled: it is treated as the least critical")
    ranks = {stage: values.get(stage, -1.0) for stage in measured}
    return [
        {
            "stage": stage,
            "relus": relus[stage],
            "accuracy_without_kd": trainings.accuracy(plain[stage]) if plain else None,
            "accuracy_with_kd": measured[stage],
            "criticality": values.get(stage),
        }
        for stage in culling_order(ranks, tuple(measured))
    ]


def order_of(table: list[Row]) -> tuple[str, ...]:
    """Return the stages from least to most critical."""
    return tuple(row["stage"] for row in table)
