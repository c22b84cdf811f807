"""At which size the tables are run: the paper's own, or a stated reduction that a laptop finishes in hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import SettingError, nearest
from ..train.recipe import Recipe, make_recipe


@dataclass(frozen=True)
class Scale:
    """``width`` multiplies all channels, ``shrink`` divides the images' sides; ``seeds`` are those run by default.

    ``teacher_epochs``: of those that distil; None for as many as their students have, which is the paper's rule.
    ``comparable`` tells whether accuracies may be compared with the paper's number by number.
    """

    name: str
    description: str
    width: float
    shrink: int
    recipe: Recipe
    seeds: tuple[int, ...]
    teacher_epochs: int | None = None
    comparable: bool = False


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
    )
}


def find_scale(name: str) -> Scale:
    """The scale of that name. Raises `SettingError`."""
    if name not in SCALES:
        raise SettingError(f"there is no scale {name!r}", nearest(name, SCALES))
    return SCALES[name]
