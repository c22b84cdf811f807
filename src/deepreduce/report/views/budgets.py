"""The best network under each budget of ReLUs: of whole layers, of single elements, and of both in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..reading.records import BUDGET_KINDS, ReportedBudget, ReportedNetwork


@dataclass(frozen=True)
class BudgetRow:
    """``networks`` are those of `BUDGET_KINDS`, None where there is none; ``choice`` is the most accurate of all."""

    relus: int
    networks: tuple[ReportedNetwork | None, ...]
    choice: ReportedNetwork | None

    @property
    def kind(self) -> str:
        """Which kind the choice is of."""
        found = (kind for kind, network in zip(BUDGET_KINDS, self.networks, strict=True) if network == self.choice)
        return next(found, "")


def compute_budgets(budgets: Sequence[ReportedBudget], networks: Sequence[ReportedNetwork]) -> tuple[BudgetRow, ...]:
    """Return the rows of the table, jobs looked up."""
    known = {network.job: network for network in networks}

    def of(job: str | None) -> ReportedNetwork | None:
        return None if job is None else known.get(job)

    return tuple(BudgetRow(b.relus, tuple(map(of, b.jobs)), of(b.choice)) for b in budgets)
