"""Everything that decides the outcome of a search, as one value."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..data.dataset import Dataset
from ..networks.counting import count
from ..networks.network import Network
from ..networks.point import Point
from ..networks.source import ModelSource
from ..reduce.elements import Linearize
from ..train.recipe import Recipe
from .spec import JobSpec, network_digest


@dataclass(frozen=True)
class Method:
    """Everything that decides the outcome of a search."""

    source: ModelSource
    full: Network
    data: Dataset
    recipe: Recipe
    teacher_recipe: Recipe
    seed: int
    alpha: float
    rho: float
    exponent: float

    def identity(self) -> dict[str, Any]:
        """What must agree for a folder to be this search's."""
        return {**self.settings(), "network": self.network, "data": self.data.digest}

    def settings(self) -> dict[str, Any]:
        """The settings, as the report shows them."""
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
            "front_padding": True,  # searches before it was there have no such key
        }
        own = {} if self.teacher_recipe == self.recipe else {"teacher_recipe": asdict(self.teacher_recipe)}
        return {**settings, **own}

    @cached_property
    def network(self) -> str:
        """The unreduced network's digest."""
        return network_digest(self.full)

    @cached_property
    def full_macs(self) -> int:
        """MACs of one forward pass of the teacher."""
        return count(self.full).total.macs

    def spec(
        self, point: Point, teacher: str | None, start: str | None = None, elements: Linearize | None = None
    ) -> JobSpec:
        """The job that trains ``point``; the unreduced network is the teacher, or trained as one."""
        recipe = self.teacher_recipe if point == self.full.point else self.recipe
        name, data = self.source.name, self.data.digest
        return JobSpec(self.network, name, str(point), data, recipe, self.seed, teacher, start=start, elements=elements)
