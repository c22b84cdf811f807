"""The ingredients of the strong recipe, each alone and each left out, against the scale's own recipe.

The base is ``S2^RT+S3^RT+S4^RT`` of ResNet18 distilled with the scale's recipe. An ingredient is kept if the 95 %
interval of its paired difference over the base, in validation accuracy, lies above zero, and of those that exclude each
other (two weight decays) the one of the largest mean. Each is a question of its own, not adjusted for the others: of
forty that do nothing one is kept by chance. What is kept is then put together, and each taken out again. Test images
choose nothing: only what all that is kept has over the base is told in test accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...errors import SettingError
from ...train.recipe import Recipe
from ..comparison import Compared, Comparison, Lookup, Statistic, accuracy, decide, validation
from ..scale import Scale
from ..training import Setting, Training

POINT = "S2^RT+S3^RT+S4^RT"
DATA = "cifar100"


@dataclass(frozen=True)
class Ingredient:
    """``settings`` are the student's, ``teacher`` its teacher's; of one ``family`` at most one is kept."""

    name: str
    family: str
    settings: tuple[Setting, ...] = ()
    teacher: tuple[Setting, ...] = ()


@dataclass(frozen=True)
class Ablated:
    """One row: ``compared`` is the paired difference, ``kept`` None while it is not known."""

    ingredient: Ingredient
    compared: Compared
    kept: bool | None


@dataclass(frozen=True)
class Ablation:
    """``alone``: each ingredient over the base. ``further``: what is asked about pairs of them.

    ``kept`` are the ingredients put together, ``together`` compares these with the base, and ``without`` compares them
    with all but one; they are empty until every ingredient was run, and where fewer than two are kept.
    """

    base: Training
    alone: tuple[Ablated, ...]
    further: tuple[Compared, ...]
    kept: tuple[Ingredient, ...]
    together: Compared | None
    without: tuple[Ablated, ...]

    @property
    def complete(self) -> bool:
        """Whether every ingredient alone was decided, so that those kept are known."""
        return all(row.kept is not None for row in self.alone)


def base(data: str = DATA) -> Training:
    """Return what every ingredient is compared with."""
    return Training(point=POINT, data=data).distilled()


def ingredients(scale: Scale) -> tuple[Ingredient, ...]:
    """Return the ingredients that change something of the scale's recipe."""
    # An average over about 1 / (1 - decay) batches must fit into the last part of the training.
    decay = 0.99 if scale.recipe.epochs < 10 else 0.999
    known = (
        Ingredient("teacher with label smoothing 0.1", "teacher", teacher=(("label_smoothing", 0.1),)),
        Ingredient("teacher with CutMix 1.0", "teacher", teacher=(("cutmix", 1.0),)),
        Ingredient("cosine schedule", "schedule", (("schedule", "cosine"),)),
        *(Ingredient(f"weight decay {w:g}", "weight decay", (("weight_decay", w),)) for w in (5e-4, 4e-4, 1e-4)),
        Ingredient("warm start", "start", (("warm_start", True),)),
        Ingredient("warm start, ReLUs fading over 0.4", "start", (("warm_start", True), ("anneal", 0.4))),
        Ingredient("attention maps, weight 1000", "attention", (("attention_weight", 1000.0),)),
        Ingredient(f"moving average {decay:g}", "average", (("ema_decay", decay),)),
        *(
            Ingredient(f"0.9 on the {term} targets", "KD weight", (("kd_weight", 0.9), ("kd_weight_on", term)))
            for term in ("soft", "hard")
        ),
        *(Ingredient(f"temperature {t:g}", "temperature", (("kd_temperature", t),)) for t in (2.0, 4.0, 8.0)),
    )
    return tuple(ingredient for ingredient in known if _changes(ingredient, scale.recipe))


def combined(parts: Sequence[Ingredient], data: str = DATA) -> Training:
    """Return the base with all of ``parts``. Raises `SettingError` where two contradict each other."""
    settings = _merged(setting for part in parts for setting in part.settings)
    teacher = _merged(setting for part in parts for setting in part.teacher)
    return replace(base(data).distilled(Training(data=data, settings=teacher)), settings=settings)


def ablate(scale: Scale, lookup: Lookup, seeds: Iterable[int], data: str = DATA) -> Ablation:
    """Decide every ingredient by the records of ``seeds``, as far as they are there."""
    seeds = tuple(seeds)
    first = validation("the base", base(data))
    parts = ingredients(scale)
    alone = tuple(
        decide(Comparison(validation(part.name, combined([part], data)), first), lookup, seeds) for part in parts
    )
    kept = _best(parts, alone)
    further = tuple(decide(comparison, lookup, seeds) for comparison in _further(parts, data))
    together: Compared | None = None
    without: tuple[Ablated, ...] = ()
    if all(row.outcome != "not run" for row in alone) and len(kept) > 1:
        whole = combined(kept, data)
        tested = Comparison(accuracy("all kept", whole), accuracy("the base", base(data)))
        together = decide(tested, lookup, seeds)
        everything = validation("all kept", whole)
        without = tuple(
            _row(part, decide(Comparison(everything, _less(kept, part, data)), lookup, seeds)) for part in kept
        )
    rows = tuple(
        Ablated(part, row, None if row.outcome == "not run" else part in kept)
        for part, row in zip(parts, alone, strict=True)
    )
    return Ablation(base(data), rows, further, kept, together, without)


def needed(scale: Scale, lookup: Lookup, seeds: Iterable[int], data: str = DATA) -> list[tuple[Training, int]]:
    """Return the trainings to be compared, seed by seed.

    First the base and each ingredient alone; once all of these are recorded, what was kept put together, too: ask again
    after what was named is run.
    """
    seeds = tuple(seeds)
    found = ablate(scale, lookup, seeds, data)
    compared = [row.compared for row in (*found.alone, *found.without)]
    compared += [*found.further, *([found.together] if found.together else [])]
    trainings = dict.fromkeys([found.base, *(t for row in compared for t in row.comparison.trainings)])
    return [(training, seed) for seed in seeds for training in trainings]


def _changes(ingredient: Ingredient, recipe: Recipe) -> bool:
    return any(getattr(recipe, name) != value for name, value in (*ingredient.settings, *ingredient.teacher))


def _merged(settings: Iterable[Setting]) -> tuple[Setting, ...]:
    merged: dict[str, object] = {}
    for name, value in settings:
        if merged.setdefault(name, value) != value:
            raise SettingError(f"{name} is to be {merged[name]} and {value}", "take one ingredient of each family")
    return tuple(merged.items())


def _best(parts: Sequence[Ingredient], alone: Sequence[Compared]) -> tuple[Ingredient, ...]:
    """Return the ingredients that help; of each family the one that helps most."""
    best: dict[str, tuple[float, Ingredient]] = {}
    for part, row in zip(parts, alone, strict=True):
        if row.outcome == "confirmed" and row.paired is not None:
            other = best.get(part.family)
            if other is None or row.paired.mean > other[0]:
                best[part.family] = (row.paired.mean, part)
    return tuple(part for _, part in best.values())


def _further(parts: Sequence[Ingredient], data: str) -> tuple[Comparison, ...]:
    """Fading is over a warm start, not over the base, if it is to be worth something of its own."""
    starts = [validation(part.name, combined([part], data)) for part in parts if part.family == "start"]
    return tuple(Comparison(later, starts[0]) for later in starts[1:])


def _less(kept: Sequence[Ingredient], part: Ingredient, data: str) -> Statistic:
    rest = [other for other in kept if other != part]
    return validation(f"all without {part.name}", combined(rest, data))


def _row(part: Ingredient, compared: Compared) -> Ablated:
    """Together with the others it stays unless it is shown to hurt."""
    return Ablated(part, compared, None if compared.outcome == "not run" else compared.outcome != "refuted")
