"""The search for a quarter of the work: short trainings that start from trained weights, and successive halving.

The budget is a quarter of what the paper's search costs, teacher included (`quarter_budget`), and is kept exactly:

1. The teacher is trained in full.
2. Two fifths of what is left train every other network for one short run: each stage alone, with distillation only
   (that is all that criticality needs), then the candidates.
3. The rest goes to the best third of these networks, which go on from their own weights through a fresh schedule. Best
   is what adds to the frontier (`survivors`); the others stay in the result as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import SettingError
from ...networks.point import Point
from ..candidates import Candidate, all_trainings, candidates, profiling_points
from ..compute import QUARTER, shortened, work
from ..hypervolume import reference_of
from ..planner import Entry, Trainings
from .profiling import Row, check_teacher, criticality_table, order_of, plan_teacher
from .successive_halving import survivors
from .warm_starts import parents, roots

FIRST_RUNG = 0.4  # of what the teacher leaves
ROOT = 4  # how many short runs the first network with scaled channels is worth: the others start from it
KEPT = 3  # one network in so many goes on: a frontier has few steps, and each is worth a long training


@dataclass(frozen=True)
class Rung:
    """One round of short trainings: the share of the recipe's image passes that each had, and the networks."""

    number: int
    share: float
    entries: tuple[Entry, ...]

    def to_json(self, trainings: Trainings) -> dict[str, Any]:
        """Return the object in frontier.json: every training with its outcome, those whose network was trained on
        included.
        """
        jobs = []
        for entry in self.entries:
            if trainings.failure(entry) is None:
                done, recipe = trainings.record(entry), entry.spec.recipe
                jobs.append(
                    {
                        "name": done.name,
                        "role": done.role,
                        "step": done.step,
                        "relus": done.relus,
                        "validation_accuracy": done.validation_accuracy,
                        "job": done.job,
                        "start": entry.spec.start,
                        "epochs": recipe.epochs,
                        "epoch_images": recipe.images_per_epoch(len(trainings.method.data.train)),
                        "seconds": done.seconds,
                    }
                )
        return {"rung": self.number, "share": self.share, "jobs": jobs}


def search_a_quarter(trainings: Trainings) -> tuple[list[Row], list[Rung]]:
    """Train what a quarter of the work allows; returns the criticality table in culling order, and the rungs."""
    method, layout = trainings.method, trainings.method.full.layout
    _expect(trainings, layout.ranked_stages)
    trainings.observer.phase("teacher and profiling")
    teacher = plan_teacher(trainings)
    # The order is not known yet. It changes costs little: only the paddings of linear segments depend on it.
    share = _first_share(trainings, teacher, layout.ranked_stages)
    recipe = shortened(method.recipe, share, len(method.data.train))
    profiled = {}
    for stage, point in profiling_points(layout).items():
        spec = method.spec(point, teacher.digest, recipe=recipe, start=teacher.digest)
        profiled[stage] = trainings.plan("profile", "profiled", point, spec, rung=1)
    trainings.run([teacher, *profiled.values()])
    check_teacher(trainings, teacher)
    table = criticality_table(trainings, profiled)

    order = order_of(table)
    _expect(trainings, order)
    trainings.observer.phase(f"candidates, culling {' < '.join(order)}, rung 1")
    found = candidates(layout, order, method.alpha, method.rho)
    trainings.run(_plan_candidates(trainings, teacher, found, share))
    first = Rung(1, share, tuple(entry for entry in trainings.entries.values() if entry is not teacher))

    second = _second_rung(trainings, teacher, first, quarter_budget(trainings, teacher, order))
    trainings.observer.phase(f"rung 2: {len(second.entries)} of {len(first.entries)} networks go on")
    trainings.run(second.entries)
    return table, [first, second]


def full_work(trainings: Trainings, teacher: Entry, order: Sequence[str]) -> int:
    """MACs of the paper's search with that culling order, teacher included."""
    method = trainings.method
    every = all_trainings(method.full.layout, order, method.alpha, method.rho)
    return teacher.work + trainings.work_of(every, teacher.digest)


def quarter_budget(trainings: Trainings, teacher: Entry, order: Sequence[str]) -> int:
    """MACs that the quarter search may spend.

    The margins of front padding cost MACs and depend on what is culled. The full search is counted without them here:
    whichever order it finds, this is at most a quarter of its work.
    """
    method, images = trainings.method, len(trainings.method.data.train)
    total = teacher.work
    for point, distilled in all_trainings(method.full.layout, order, method.alpha, method.rho):
        cost = trainings.cost(point)
        if cost is not None:
            macs = min(cost.macs, method.unpadded_macs(point.alpha, point.rho))
            total += work(method.recipe, images, macs, method.full_macs if distilled else 0)
    return int(QUARTER * total)


def _pool(trainings: Trainings, order: Sequence[str]) -> list[tuple[Point, bool]]:
    """Return the networks of the first rung, all of them distilled: each stage alone, and the candidates."""
    method = trainings.method
    every = all_trainings(method.full.layout, order, method.alpha, method.rho)
    return [(point, distilled) for point, distilled in every if distilled]


def _expect(trainings: Trainings, order: Sequence[str]) -> None:
    pool = len(_pool(trainings, order))
    trainings.expect(1 + pool + _kept(pool))


def _kept(count: int) -> int:
    return -(-count // KEPT)


def _first_share(trainings: Trainings, teacher: Entry, order: Sequence[str]) -> float:
    """Return the share of the recipe that the first rung's networks are trained for."""
    method = trainings.method
    found = candidates(method.full.layout, order, method.alpha, method.rho)
    again = [(found[i].point, True) for i in roots(found, parents(found))]
    unit = trainings.work_of(_pool(trainings, order), teacher.digest)
    unit += (ROOT - 1) * trainings.work_of(again, teacher.digest)
    budget = quarter_budget(trainings, teacher, order)
    left = budget - teacher.work
    if left <= 0:
        taken = QUARTER * 100 * teacher.work / budget
        message = f"the teacher alone takes {taken:.0f} % of the full search's work"
        raise SettingError(message, "use `compute_budget` full")
    return FIRST_RUNG * left / unit


def _plan_candidates(
    trainings: Trainings, teacher: Entry, found: Sequence[Candidate], share: float
) -> list[Entry | None]:
    """Return the candidates' short runs. What would start from a network that cannot be made starts from the
    teacher.
    """
    method, images = trainings.method, len(trainings.method.data.train)
    origins = parents(found)
    fresh = roots(found, origins)
    planned: list[Entry | None] = []
    for index, (candidate, origin) in enumerate(zip(found, origins, strict=True)):
        parent = None if origin is None else planned[origin]
        recipe = shortened(method.recipe, share * (ROOT if index in fresh else 1), images)
        start = (parent or teacher).digest
        spec = method.spec(candidate.point, teacher.digest, recipe=recipe, start=start)
        planned.append(trainings.plan("candidate", candidate.step, candidate.point, spec, rung=1))
    return planned


def _second_rung(trainings: Trainings, teacher: Entry, first: Rung, budget: int) -> Rung:
    """Plan the trainings that go on, for as long as the budget allows."""
    method = trainings.method
    trained = [entry for entry in first.entries if trainings.failure(entry) is None]
    points = [(entry.cost.relus, trainings.accuracy(entry) or 0.0) for entry in trained]
    reference = reference_of([], teacher.cost.relus, len(method.data.classes))
    chosen = [trained[i] for i in survivors(points, _kept(len(trained)), reference)]
    left = budget - sum(entry.work for entry in trainings.entries.values())
    whole = trainings.work_of([(entry.point, True) for entry in chosen], teacher.digest)
    share = min(1.0, left / whole)
    # What fades ReLUs has done so in the first rung.
    recipe = replace(shortened(method.recipe, share, len(method.data.train)), anneal=0.0)
    entries = []
    for entry in chosen:
        spec = method.spec(entry.point, teacher.digest, recipe=recipe, start=entry.digest)
        entries.append(trainings.plan(entry.role, entry.step, entry.point, spec, rung=2))
    return Rung(2, share, tuple(entry for entry in entries if entry is not None))
