"""Comparisons: quantities with one value a seed, made from the records of one or more trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..search.criticality import criticality
from .records import Record
from .statistics import Paired, compare
from .training import Training

MINIMUM_SEEDS = 5

#: The record of a training at a seed, if there is one.
Lookup = Callable[[Training, int], Record | None]
ClaimOutcome = Literal["confirmed", "refuted", "undecided", "not run"]


@dataclass(frozen=True)
class Statistic:
    """One number per seed: ``value`` of the records of ``trainings``, in their order. ``unit`` is what it counts."""

    name: str
    trainings: tuple[Training, ...]
    value: Callable[[Sequence[Record]], float]
    unit: str = "points"

    def by_seed(self, lookup: Lookup, seeds: Iterable[int]) -> Mapping[int, float]:
        """Return its value at each of ``seeds`` that every training was run with."""
        values = {}
        for seed in seeds:
            records = [lookup(training, seed) for training in self.trainings]
            found = [record for record in records if record is not None]
            if len(found) == len(records):
                values[seed] = self.value(found)
        return values


@dataclass(frozen=True)
class Comparison:
    """The claim that ``above`` is greater than ``below``; ``paper`` is the difference of the paper's numbers."""

    above: Statistic
    below: Statistic
    paper: float | None = None

    @property
    def label(self) -> str:
        """Both in words."""
        return f"{self.above.name} over {self.below.name}"

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Trainings of the comparison, without their teachers."""
        return tuple(dict.fromkeys((*self.above.trainings, *self.below.trainings)))


@dataclass(frozen=True)
class Compared:
    """One comparison decided: the values by seed (of ``paired.seeds``), their paired difference, the outcome.

    ``seeds`` counts those that both sides were run with; ``paired`` is None with fewer than two of them.
    """

    comparison: Comparison
    seeds: int
    above: tuple[float, ...]
    below: tuple[float, ...]
    paired: Paired | None
    outcome: ClaimOutcome


def accuracy(name: str, training: Training) -> Statistic:
    """Return the training's test accuracy, in percent."""
    return Statistic(name, (training,), lambda records: records[0].test_accuracy)


def validation(name: str, training: Training) -> Statistic:
    """Return the training's validation accuracy, in percent: for what is chosen, which test images must not decide."""
    return Statistic(name, (training,), lambda records: records[0].validation_accuracy)


def gain(name: str, better: Training, worse: Training) -> Statistic:
    """Return what one training has over the other, in points of test accuracy."""
    return Statistic(name, (better, worse), lambda records: records[0].test_accuracy - records[1].test_accuracy)


def critical(stage: str, trainings: Mapping[str, Training]) -> Statistic:
    """C_k of ``stage`` (equation 1) by the test accuracies of ``trainings``, one for each stage."""
    stages = tuple(trainings)

    def value(records: Sequence[Record]) -> float:
        accuracies = {name: record.test_accuracy for name, record in zip(stages, records, strict=True)}
        relus = {name: record.relus for name, record in zip(stages, records, strict=True)}
        return criticality(accuracies, relus)[stage]

    return Statistic(f"C({stage})", tuple(trainings.values()), value, "C")


def decide(comparison: Comparison, lookup: Lookup, seeds: Iterable[int], comparisons: int = 1) -> Compared:
    """Compare over the common seeds; ``comparisons`` are made together (see `deepreduce.reproduce.statistics`).

    Confirmed if the interval lies above zero, refuted if below, undecided if it holds it, and not run with fewer than
    `MINIMUM_SEEDS`.
    """
    seeds = tuple(dict.fromkeys(seeds))
    above, below = comparison.above.by_seed(lookup, seeds), comparison.below.by_seed(lookup, seeds)
    common = sorted(above.keys() & below.keys())
    paired = compare(above, below, comparisons)
    return Compared(
        comparison,
        len(common),
        tuple(above[seed] for seed in common),
        tuple(below[seed] for seed in common),
        paired,
        _outcome(paired, len(common)),
    )


def _outcome(paired: Paired | None, seeds: int) -> ClaimOutcome:
    if paired is None or seeds < MINIMUM_SEEDS:
        return "not run"
    if paired.low > 0:
        return "confirmed"
    return "refuted" if paired.high < 0 else "undecided"
