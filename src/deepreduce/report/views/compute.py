"""Cost of a search and hypervolume of its frontier, as rows."""

from __future__ import annotations

from ...units import show_duration
from ..formatting import decimal, percent, whole
from ..reading.records import ReportedCompute

_ORIGINS = {"chance": "chance", "trained": "trained without ReLUs", "given": "as given"}


def compute_rows(effort: ReportedCompute | None) -> tuple[tuple[str, str], ...]:
    """Rows of (what, value); none where the search did not record it."""
    if effort is None:
        return ()
    share = 100 * effort.spent_macs / effort.full_macs if effort.full_macs else 0.0
    spent = f"{effort.spent_macs:.3g} MACs in {show_duration(effort.seconds)} of training"
    corner = f"{whole(effort.reference_relus)} ReLUs and {percent(effort.reference_accuracy)}"
    return (
        ("compute budget", effort.name),
        ("training", f"{spent}, {share:.1f}\N{NO-BREAK SPACE}% of the full search's"),
        (
            "hypervolume",
            f"{decimal(effort.hypervolume)} (decades of ReLUs x points of accuracy, from {corner}: "
            f"{_ORIGINS.get(effort.origin, effort.origin)})",
        ),
    )
