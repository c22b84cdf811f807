"""The paper's search: every network trained by the whole recipe (section 3.5)."""

from __future__ import annotations

from ..candidates import all_trainings, candidates, profiling_points
from ..planner import Trainings
from .profiling import Row, check_teacher, criticality_table, order_of, plan_teacher


def search_in_full(trainings: Trainings) -> list[Row]:
    """Teacher, 2 x D profiling runs, 5 x (D - 1) candidates; returns the criticality table in culling order."""
    method, layout = trainings.method, trainings.method.full.layout
    trainings.expect(1 + len(all_trainings(layout, layout.ranked_stages, method.alpha, method.rho)))
    trainings.observer.phase("teacher and profiling")
    teacher = plan_teacher(trainings)
    alone = profiling_points(layout)
    plain = {
        stage: trainings.plan("profile", "profiled", point, method.spec(point, None)) for stage, point in alone.items()
    }
    distilled = {
        stage: trainings.plan("profile", "profiled", point, method.spec(point, teacher.digest))
        for stage, point in alone.items()
    }
    trainings.run([teacher, *plain.values(), *distilled.values()])
    check_teacher(trainings, teacher)
    table = criticality_table(trainings, distilled, plain)

    order = order_of(table)
    trainings.observer.phase(f"candidates, culling {' < '.join(order)}")
    found = candidates(layout, order, method.alpha, method.rho)
    trainings.run([trainings.plan("candidate", c.step, c.point, method.spec(c.point, teacher.digest)) for c in found])
    return table
