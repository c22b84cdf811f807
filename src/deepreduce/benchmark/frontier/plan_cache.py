"""Points exported once: DIR/plans/<job>/ holds a point's plan and weights, and what made them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data import DataLike
from ...errors import DeepReduceError, PointError, StoreError
from ...files import read_json, write_json
from ...plan import VERSION, Plan, digest, read_plan, read_weights
from ...search.frontier import Frontier, TrainedNetwork
from ...version import __version__

PLANS, FACTS = "plans", "point.json"
MERGE = True


@dataclass(frozen=True)
class PointPlan:
    """The folder with plan.json and weights.safetensors, the plan, and the convolutions merging left of how many."""

    folder: Path
    plan: Plan
    convs_before: int
    convs_after: int


class Exporter:
    """Exports points of one frontier. ``data``: the search's, where it cannot be loaded by its name."""

    def __init__(self, frontier: Frontier, data: DataLike | None = None) -> None:
        from ... import export

        self._frontier = frontier
        self._data = None if data is None else export.frontier_data(frontier, data)

    def plan(self, network: TrainedNetwork) -> PointPlan:
        """Return the point's plan, exported unless that is done already with the same settings.

        Raises `DeepReduceError` where the point cannot be exported: an op that no plan has, a ring too small.
        """
        folder = self._frontier.directory / PLANS / network.job
        settings = {"job": network.job, "merge": MERGE, "format": VERSION, "deepreduce": __version__}
        with contextlib.suppress(DeepReduceError):  # what is not there, or not whole, is made
            return _made_before(folder, settings)
        if self._frontier[network.name].job != network.job:
            raise PointError(f"{network.name!r} was trained twice, and this is not the one that its name means")
        from ... import export

        if self._data is None:
            self._data = export.frontier_data(self._frontier)
        exported = export.export_point(self._frontier, network.name, evaluate=0, merge=MERGE, data=self._data)
        exported.write(folder)
        facts = {
            "settings": settings,
            "plan": digest(exported.plan),
            "convs_before": exported.convs_before,
            "convs_after": exported.convs_after,
        }
        write_json(folder / FACTS, facts)  # last: what was cut short is made again
        return PointPlan(folder, exported.plan, exported.convs_before, exported.convs_after)


def _made_before(folder: Path, settings: dict[str, Any]) -> PointPlan:
    facts = read_json(folder / FACTS, ("settings", "plan", "convs_before", "convs_after"))
    plan = read_plan(folder / "plan.json")
    if facts["settings"] != settings or facts["plan"] != digest(plan):
        raise StoreError(f"{folder} holds another export")
    read_weights(folder / "weights.safetensors", plan)  # whole, and of this plan
    return PointPlan(folder, plan, int(facts["convs_before"]), int(facts["convs_after"]))
