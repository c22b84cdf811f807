"""``deepreduce search --budgets``: the best networks under each budget, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from ..search import Frontier, TrainedNetwork

COLUMNS = ("coarse", "fine", "coarse-then-fine")


def show_budgets(console: Console, frontier: Frontier) -> None:
    """A row for each budget; nothing where none was asked for."""
    rows = frontier.content.get("budgets", [])
    if not rows:
        return
    known = {network.job: network for network in frontier.networks}
    table = Table(title="Budgets: validation / test % of the best with at most so many ReLUs", title_justify="left")
    for name in ("ReLUs", *COLUMNS):
        table.add_column(name, justify="right")
    table.add_column("best")
    for row in rows:
        cells = [_accuracies(known.get(row[kind])) for kind in COLUMNS]
        best = known.get(row["choice"])
        table.add_row(f"{row['relus']:,}", *cells, "-" if best is None else escape(best.name))
    console.print(table)


def _accuracies(network: TrainedNetwork | None) -> str:
    if network is None:
        return "-"
    test = "-" if network.test_accuracy is None else f"{network.test_accuracy:.2f}"
    return f"{network.validation_accuracy:.2f} / {test}"
