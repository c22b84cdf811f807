"""Everything that decides the outcome of a search, as one value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

from ..data.dataset import Dataset
from ..jobs.spec import JobSpec, network_digest
from ..networks.counting import NetworkCost, count
from ..networks.network import Network
from ..networks.point import Point
from ..networks.source import ModelSource
from ..reduce.build import reduce_to
from ..reduce.elements.settings import Linearize
from ..train.recipe import Recipe
from .compute import ComputeBudget, work

# What folders of searches from before a setting was there hold implicitly: such a search can go on.
DEFAULTS: dict[str, Any] = {"effort": "full", **{f"recipe.{f.name}": f.default for f in fields(Recipe)}}


@dataclass(frozen=True)
class SearchConfig:
    """Everything that decides the outcome of a search.

    ``weights`` is the digest of the weights that the teacher was given; None where it is trained.
    """

    source: ModelSource
    full: Network
    data: Dataset
    recipe: Recipe
    teacher_recipe: Recipe
    seed: int
    alpha: float
    rho: float
    exponent: float
    front_padding: bool = True
    compute_budget: ComputeBudget = "full"
    weights: str | None = None

    def identity(self) -> dict[str, Any]:
        """Return what must agree for a folder to be this search's."""
        return {**self.settings(), "network": self.network, "data": self.data.digest}

    def settings(self) -> dict[str, Any]:
        """Return the settings, as the report shows them."""
        settings = {
            "model": self.source.name,
            "importable": isinstance(self.source.model, str),
            "width": self.source.width,
            "stages": dict(self.source.stages) if self.source.stages else None,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "alpha": self.alpha,
            "rho": self.rho,
            "criticality_exponent": self.exponent,
            "front_padding": self.front_padding,  # searches before it was there have no such key
            "effort": self.compute_budget,
        }
        own = {} if self.teacher_recipe == self.recipe else {"teacher_recipe": asdict(self.teacher_recipe)}
        given = {} if self.weights is None else {"weights": self.weights}
        return {**settings, **own, **given}

    @cached_property
    def network(self) -> str:
        """The unreduced network's digest."""
        return network_digest(self.full)

    @cached_property
    def full_macs(self) -> int:
        """MACs of one forward pass of the teacher."""
        return count(self.full).total.macs

    def cost(self, point: Point) -> NetworkCost:
        """ReLUs, parameters and MACs of a point. Raises `DeepReduceError` if it cannot be made."""
        cost = count(reduce_to(self.full, point, front_padding=self.front_padding)).total
        return cost if point.relus is None else replace(cost, relus=point.relus)  # those that will be left

    def unpadded_macs(self, alpha: float, rho: float) -> int:
        """MACs of the network at these scales without front padding, whichever ReLUs it keeps."""
        key = (alpha, rho)
        if key not in self._unpadded:
            point = replace(self.full.point, alpha=alpha, rho=rho)
            self._unpadded[key] = count(reduce_to(self.full, point, front_padding=False)).total.macs
        return self._unpadded[key]

    @cached_property
    def _unpadded(self) -> dict[tuple[float, float], int]:
        return {}

    def work(self, spec: JobSpec, cost: NetworkCost) -> int:
        """MACs of a training (see `deepreduce.search.compute.work`); of a network with given weights none."""
        if spec.weights is not None:
            return 0
        return work(spec.recipe, len(self.data.train), cost.macs, self.full_macs if spec.teacher else 0)

    def spec(
        self,
        point: Point,
        teacher: str | None,
        *,
        recipe: Recipe | None = None,
        start: str | None = None,
        elements: Linearize | None = None,
    ) -> JobSpec:
        """Return the job that trains ``point``, by the search's recipe or another, from the weights of ``start`` or
        again.

        The unreduced network is the teacher, or trained as one.
        """
        is_full = point == self.full.point
        own = self.teacher_recipe if is_full else self.recipe
        return JobSpec(
            self.network,
            self.source.name,
            str(point),
            self.data.digest,
            recipe or own,
            self.seed,
            teacher,
            start,
            self.front_padding,
            elements,
            weights=self.weights if is_full and teacher is None else None,
        )
