"""Whole layers removed (coarse), single elements (fine), or the one and then the other, at equal numbers of ReLUs.

Nobody has published the last. What is compared has had the same epochs: the coarse network is trained again from its
own weights, fine begins with the teacher's, coarse-then-fine with those of a coarse network of more ReLUs; all are
distilled from the teacher. The expected direction of each comparison is a guess that the outcome may refute.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...reduce.elements.settings import METHODS, Linearize, Scoring
from ..comparison import Comparison, Statistic, accuracy
from ..training import Training
from .claims import Claim

TEACHER = Training()
WHOLE = "S1+S2+S3+S4"  # without the stem, as in SNL


@dataclass(frozen=True)
class ElementBudget:
    """``relus`` at full scale, the ``coarse`` network that has them, the ``base`` from which elements are removed."""

    relus: int
    coarse: str
    base: str

    def again(self) -> Statistic:
        """Return the coarse network, trained twice."""
        return accuracy("coarse", Training(point=self.coarse, start=_distilled(self.coarse)).distilled())

    def fine(self, method: Scoring = "taylor2", name: str = "fine") -> Statistic:
        """Elements removed from the whole network."""
        return accuracy(name, self._removed(WHOLE, TEACHER, method))

    def both(self) -> Statistic:
        """Elements removed from the base."""
        return accuracy("coarse-then-fine", self._removed(self.base, _distilled(self.base), "taylor2"))

    def _removed(self, point: str, start: Training, method: Scoring) -> Training:
        return Training(point=point, start=start, relus=self.relus, elements=Linearize(method)).distilled()


def _distilled(point: str) -> Training:
    return Training(point=point).distilled()


BUDGETS = (
    ElementBudget(114_688, "S2^RT+S3^RT+S4^RT", "S2+S3+S4"),
    ElementBudget(28_672, "S2^RT+S3^RT+S4^RT, rho=0.5", "S2^RT+S3^RT+S4^RT"),
)
NOTE = "All have had the same epochs; the coarse network is {coarse}, coarse-then-fine begins with {base}."


def _questions(budget: ElementBudget) -> tuple[Claim, ...]:
    thousands, note = f"{budget.relus / 1000:.1f}K", NOTE.format(coarse=budget.coarse, base=budget.base)
    where = f"ResNet18, {thousands} ReLUs at full scale"
    return (
        Claim(
            f"coarse-then-fine-{thousands}",
            f"With {thousands} ReLUs, removing layers and then elements is more accurate than either alone.",
            where,
            (Comparison(budget.both(), budget.again()), Comparison(budget.both(), budget.fine())),
            note,
        ),
        Claim(
            f"fine-{thousands}",
            f"With {thousands} ReLUs, removing elements is more accurate than removing layers.",
            where,
            (Comparison(budget.fine(), budget.again()),),
            note,
        ),
    )


def _methods(budget: ElementBudget) -> tuple[Claim, ...]:
    second = budget.fine(name="taylor2")
    return tuple(
        Claim(
            f"taylor2-over-{method}",
            f"Scores of the second order choose elements better than {method}.",
            f"ResNet18, fine, {budget.relus / 1000:.1f}K ReLUs at full scale",
            (Comparison(second, budget.fine(method, method)),),
        )
        for method in METHODS
        if method != "taylor2"
    )


QUESTIONS: tuple[Claim, ...] = (*(claim for budget in BUDGETS for claim in _questions(budget)), *_methods(BUDGETS[-1]))
