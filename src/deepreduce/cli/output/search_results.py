"""Results of a search for people: the network picked under a target, and the best under each budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...units import show_count
from .progress_bar import progress_bar, watcher

if TYPE_CHECKING:
    from ...benchmark.frontier import Pick
    from ...data import Dataset
    from ...search import Frontier, Target, TrainedNetwork

CLASSES_SHOWN = 20
COLUMNS = ("coarse", "fine", "coarse-then-fine")


def show_data(console: Console, data: Dataset) -> None:
    """Show how many images each split has of each class; of many classes the smallest and the largest."""
    classes = sorted(zip(data.classes, zip(*data.images_per_class.values(), strict=True), strict=True), key=_size)
    total = "{:,} training, {:,} validation and {:,} test images".format(*map(sum, data.images_per_class.values()))
    lines = [f"data: {data.name}: {total} of {show_count(len(classes), 'class')}"]
    if len({numbers for _, numbers in classes}) == 1:
        lines.append("  each class: {} + {} + {}".format(*classes[0][1]))
    else:
        shown = classes if len(classes) <= CLASSES_SHOWN else [classes[0], classes[-1]]
        marks = [""] * len(classes) if shown is classes else [" (smallest class)", " (largest class)"]
        lines += ["  {}: {} + {} + {}".format(name, *n) + mark for (name, n), mark in zip(shown, marks, strict=True)]
    for line in lines:
        console.print(escape(line), highlight=False, soft_wrap=True)


def _size(labeled: tuple[str, tuple[int, ...]]) -> int:
    return sum(labeled[1])


def pick_target(console: Console, directory: Path, targets: Sequence[Target], data: Dataset) -> Pick:
    """Picks, measures, shows."""
    from ...benchmark.frontier import pick

    with progress_bar(console) as report:
        picked = pick(directory, targets, observer=watcher(console, report), data=data)
    for line in described(picked):
        console.print(escape(line), highlight=False, soft_wrap=True)
    return picked


def described(picked: Pick) -> list[str]:
    """Return the choice in sentences."""
    wanted = " and ".join(target.text for target in picked.targets)
    lines = [f"left out, for it has no plan: {name}: {error}" for name, error in picked.skipped]
    if picked.network is None:
        lines.append(f"no network meets {wanted}")
        if picked.nearest is not None:
            nearest, network = picked.nearest, picked.nearest.network
            values = ", ".join(
                f"{target.quantity} {target.shown(value)}, {value / target.bound:.2f} times the bound"
                for target, value in zip(picked.targets, nearest.values, strict=True)
                if not target.holds(value)
            )
            lines.append(f"the nearest is {network.name} ({network.validation_accuracy:.2f} %): predicted {values}")
        return lines
    accuracy = picked.network.validation_accuracy
    lines.append(f"best network for {wanted}: {picked.network.name}, validation accuracy {accuracy:.2f} %")
    for kept in picked.kept:
        target = kept.target
        verdict = "" if kept.holds else f"; BEYOND the bound of {target.shown(target.bound)}"
        shown = f"predicted {target.shown(kept.predicted)}, measured {target.shown(kept.measured)}"
        lines.append(f"  {target.text}: {shown} ({100 * kept.error:+.0f} %){verdict}")
    return lines


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
