"""Compute budget of a search: the work of a training in MACs, and recipes cut to a share of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal, get_args

from ..errors import SettingError, nearest
from ..train.recipe import Recipe

ComputeBudget = Literal["full", "quarter"]
QUARTER = 0.25


def check_compute_budget(name: str) -> None:
    """Raise `SettingError` for an unknown compute budget."""
    if name not in get_args(ComputeBudget):
        raise SettingError(f"compute budget {name!r} is unknown", nearest(name, get_args(ComputeBudget)))


def work(recipe: Recipe, images: int, macs: int, teacher_macs: int = 0) -> int:
    """MACs of training a network of ``macs`` by ``recipe`` with ``images`` training images.

    Every image costs a forward pass of the network and twice that backward and, where there is a teacher, a forward
    pass of that. Validation, which costs the same share in every search, is not counted.
    """
    return recipe.epochs * recipe.images_per_epoch(images) * (3 * macs + teacher_macs)


def shortened(recipe: Recipe, share: float, images: int) -> Recipe:
    """``recipe`` with at most ``share`` of its image passes over ``images`` training images; 1 or more: as it is.

    Its schedule is run through whole: epochs of equal length, fewer and where need be smaller (`Recipe.epoch_images`),
    with as many steps of the rate as before. A batch is made whole rather than cut. Two images are the least.
    """
    if share >= 1:
        return recipe
    whole = recipe.images_per_epoch(images)
    passes = int(share * recipe.epochs * whole)
    periods = ceil(recipe.epochs / recipe.step_epochs) if recipe.schedule == "step" else 1
    epochs = periods * max(1, ceil(passes / whole / periods))
    each = max(2, passes // epochs)
    if each > recipe.batch_size:
        each -= each % recipe.batch_size
    step_epochs = epochs // periods if periods > 1 else recipe.step_epochs
    return replace(recipe, epochs=epochs, epoch_images=0 if each >= images else each, step_epochs=step_epochs)


@dataclass(frozen=True)
class Spending:
    """Compute that a search was allowed, planned and spent, in MACs (see `work`); ``seconds`` are those of all
    trainings.

    ``full_macs`` is what the full search costs: the paper's, every network trained by the whole recipe.
    """

    compute_budget: str
    full_macs: int
    budget_macs: int
    planned_macs: int
    spent_macs: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the object in frontier.json."""
        return {
            "name": self.compute_budget,
            "full_macs": self.full_macs,
            "budget_macs": self.budget_macs,
            "planned_macs": self.planned_macs,
            "spent_macs": self.spent_macs,
            "seconds": self.seconds,
            "spent_share": self.spent_macs / self.full_macs,
        }
