"""Scales at which the tables are run: the paper's own, and reductions that a laptop finishes in hours or days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import SettingError, nearest
from ..processor import native_bf16
from ..train.recipe import Precision, Recipe, make_recipe


@dataclass(frozen=True)
class Scale:
    """``width`` multiplies all channels, ``shrink`` divides the images' sides; ``seeds`` are those run by default.

    ``teacher_epochs``: of those that distill; None for as many as their students have, which is the paper's rule.
    ``comparable`` tells whether accuracies may be compared with the paper's number by number. With ``native_precision``
    trainings compute in bfloat16 on processors that have it and in float32 on others; records of both are read.
    """

    name: str
    description: str
    width: float
    shrink: int
    recipe: Recipe
    seeds: tuple[int, ...]
    teacher_epochs: int | None = None
    comparable: bool = False
    native_precision: bool = False

    def for_this_processor(self) -> Scale:
        """Return the scale with the precision that trainings have on this machine."""
        if not self.native_precision:
            return self
        return self._at("bf16" if native_bf16() else "fp32")

    def variants(self) -> tuple[Scale, ...]:
        """Return the scale once for every precision that its trainings may have been computed in."""
        return (self._at("bf16"), self._at("fp32")) if self.native_precision else (self,)

    def _at(self, precision: Precision) -> Scale:
        return replace(self, recipe=replace(self.recipe, precision=precision))


_BRIEF = make_recipe("quick", epochs=2, batch_size=128, flip=True)

SCALES: Mapping[str, Scale] = {
    scale.name: scale
    for scale in (
        Scale(
            "full",
            "the paper's setting: full width and resolution, 120 epochs, SGD 0.1 divided by 10 every 30 epochs",
            1.0,
            1,
            make_recipe("paper"),
            (0, 1, 2),
            comparable=True,
        ),
        Scale(
            "full-bf16",
            "the paper's setting as in full, but computed in bfloat16, which accelerators do faster",
            1.0,
            1,
            make_recipe("paper", precision="bf16"),
            (0, 1, 2),
            comparable=True,
        ),
        Scale(
            "small",
            "a quarter of the channels, images averaged to half their sides, 2 epochs of a one-cycle schedule on all "
            "training images: made to compare networks with each other, not to reach the paper's accuracies",
            0.25,
            2,
            _BRIEF,
            (0, 1, 2, 3, 4),
        ),
        Scale(
            "small-taught",
            "a quarter of the channels, images averaged to half their sides, 2 epochs of a one-cycle schedule on all "
            "training images (8 for teachers, which after 2 know no more than their students): made to compare "
            "networks with each other, not to reach the paper's accuracies",
            0.25,
            2,
            _BRIEF,
            (0, 1, 2, 3, 4),
            teacher_epochs=8,
        ),
        Scale(
            "medium",
            "a quarter of the channels, images at full resolution, 6 epochs of a one-cycle schedule on all training "
            "images (12 for teachers), bfloat16 where the processor has it: made to compare networks with each other. "
            "Its settings were chosen after one trial with seed 0, so claims are judged on seeds 1 to 5, which had not "
            "been run by then",
            0.25,
            1,
            make_recipe("quick", epochs=6, batch_size=128, learning_rate=0.2, crop_padding=4, flip=True),
            (1, 2, 3, 4, 5),
            teacher_epochs=12,
            native_precision=True,
        ),
    )
}


def find_scale(name: str) -> Scale:
    """Return the scale of that name. Raises `SettingError`."""
    if name not in SCALES:
        raise SettingError(f"there is no scale {name!r}", nearest(name, SCALES))
    return SCALES[name]
