"""Recipe of a training as one frozen value, hashed into every job's digest."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import SettingError, nearest

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Recipe:
    """A training recipe; the defaults are the paper's (section 4), exactly.

    ``schedule``: ``step`` multiplies the rate by ``step_factor`` every ``step_epochs``; ``cosine`` falls to 0;
    ``one-cycle`` rises for ``warmup`` (share of all steps), then falls to 0. All are stepped per batch.

    Distillation is ``w * hard + (1 - w) * soft`` or the reverse: ``kd_weight`` is w and ``kd_weight_on`` names the term
    it multiplies, ``hard`` (cross-entropy on the labels) or ``soft`` (T^2-scaled KL divergence from the teacher). The
    paper's wording is 0.9 on ``hard``; the code it cites has 0.9 on ``soft``.

    ``attention_weight`` multiplies the distance of the student's attention maps from the teacher's (see attention.py).
    With ``warm_start`` the student begins with the teacher's weights: its runs, profiling included, are then not the
    paper's, which begin again. ``anneal`` is the share of all steps over which the ReLUs that a network lacks fade
    linearly from ReLU to identity instead of being cut (0).

    ``epoch_images`` training images, drawn again for each epoch, make an epoch; 0 means all of them.

    ``cutout`` is the side of the erased square in pixels, ``cutmix`` the parameter of its Beta distribution,
    ``ema_decay`` per batch (lower in the first ones); 0 switches each off. docs/guide/recipes.md names the sources.
    """

    name: str = "paper"
    epochs: int = 120
    batch_size: int = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 4e-4
    schedule: Literal["step", "cosine", "one-cycle"] = "step"
    step_epochs: int = 30
    step_factor: float = 0.1
    warmup: float = 0.3
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    crop_padding: int = 4
    flip: bool = True
    cutout: int = 0
    cutmix: float = 0.0
    kd_temperature: float = 4.0
    kd_weight: float = 0.9
    kd_weight_on: Literal["hard", "soft"] = "hard"
    attention_weight: float = 0.0
    warm_start: bool = False
    anneal: float = 0.0
    precision: Precision = "fp32"
    channels_last: bool = True
    compile: bool = False
    epoch_images: int = 0

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            options = typing.get_args(hints[field.name])
            value = getattr(self, field.name)
            if options and value not in options:
                raise SettingError(f"{field.name} {value!r} is unknown", nearest(str(value), map(str, options)))
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingError(f"{name} {value:g} is not in [{low:g}, {high:g}]")

    @property
    def hard_weight(self) -> float:
        """The weight of the cross-entropy on the labels; the teacher's term has the rest."""
        return self.kd_weight if self.kd_weight_on == "hard" else 1 - self.kd_weight

    def images_per_epoch(self, images: int) -> int:
        """Return how many of ``images`` training images an epoch sees."""
        return min(self.epoch_images or images, images)


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("epochs", 1, 100_000),
    ("batch_size", 1, 1_000_000),
    ("learning_rate", 1e-9, 1e3),
    ("momentum", 0, 0.9999),
    ("weight_decay", 0, 10),
    ("step_epochs", 1, 100_000),
    ("step_factor", 0, 1),
    ("warmup", 0, 0.99),
    ("label_smoothing", 0, 0.99),
    ("ema_decay", 0, 0.999999),
    ("crop_padding", 0, 1000),
    ("cutout", 0, 10_000),
    ("cutmix", 0, 100),
    ("kd_temperature", 1e-3, 1e3),
    ("kd_weight", 0, 1),
    ("attention_weight", 0, 1e6),
    ("anneal", 0, 1),
    ("epoch_images", 0, 1_000_000_000),
)

# What matters only beside a teacher, or in a network that lacks ReLUs.
OF_STUDENTS = ("attention_weight", "warm_start", "anneal")

RECIPES = {
    "paper": Recipe(),
    # Students of a strong teacher; what they have of it makes a lower rate enough.
    "strong": Recipe(
        name="strong",
        learning_rate=0.05,
        nesterov=True,
        weight_decay=5e-4,
        schedule="cosine",
        ema_decay=0.999,
        kd_weight_on="soft",
        attention_weight=1000.0,
        warm_start=True,
        anneal=0.4,
    ),
    # CutMix rather than label smoothing, after which the logits tell a student less (Mueller et al. 2019).
    "strong-teacher": Recipe(
        name="strong-teacher",
        nesterov=True,
        weight_decay=5e-4,
        schedule="cosine",
        ema_decay=0.999,
        cutmix=1.0,
    ),
    # For small data and few epochs on a CPU. No flip: mirrored digits are other signs.
    "quick": Recipe(
        name="quick",
        epochs=4,
        batch_size=32,
        nesterov=True,
        weight_decay=5e-4,
        schedule="one-cycle",
        warmup=0.25,
        crop_padding=2,
        flip=False,
        kd_weight_on="soft",
    ),
}


def make_recipe(name: str, **changes: Any) -> Recipe:
    """Return the recipe ``name`` with some fields changed; values may be text as typed on a command line.

    Raises `SettingError` for unknown names and values out of range.
    """
    if name not in RECIPES:
        raise SettingError(f"unknown recipe {name!r}", nearest(name, RECIPES))
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    hints = typing.get_type_hints(Recipe)
    converted = {}
    for key, value in changes.items():
        if key not in fields or key == "name":
            raise SettingError(f"unknown recipe setting {key!r}", nearest(key, set(fields) - {"name"}))
        converted[key] = _convert(key, value, hints[key])
    return dataclasses.replace(RECIPES[name], **converted)


def teacher_recipe_of(recipe: Recipe) -> Recipe:
    """Return the recipe of the teacher of networks trained with ``recipe``: ``strong-teacher`` for ``strong``, else the
    same.

    What ``recipe`` has otherwise than ``strong`` (fewer epochs, say), the teacher's has too. What only students have is
    left at its default, so that it does not tell teachers apart.
    """
    if recipe.name == "strong":
        usual = dataclasses.asdict(RECIPES["strong"])
        changed: dict[str, Any] = {k: v for k, v in dataclasses.asdict(recipe).items() if v != usual[k]}
        shared = {name: value for name, value in changed.items() if name not in OF_STUDENTS}
        return dataclasses.replace(RECIPES["strong-teacher"], **shared)
    plain: dict[str, Any] = {name: getattr(RECIPES["paper"], name) for name in OF_STUDENTS}
    return dataclasses.replace(recipe, **plain)


def _convert(key: str, value: Any, kind: Any) -> Any:
    if not isinstance(value, str) or typing.get_args(kind):
        return value
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
        return kind(value)
    except (KeyError, ValueError):
        raise SettingError(f"{key}={value!r} is not a {kind.__name__}") from None
