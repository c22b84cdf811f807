"""``deepreduce search --target``: the network that was picked under a budget, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from .bars import progress_bar
from .bench_frontier import watcher

if TYPE_CHECKING:
    from ..benchmark.frontier import Pick
    from ..data.dataset import Dataset
    from ..search.targets import Target


def pick_target(console: Console, directory: Path, targets: Sequence[Target], data: Dataset) -> Pick:
    """Picks, measures, shows."""
    from ..benchmark.frontier import pick

    with progress_bar(console) as report:
        picked = pick(directory, targets, observer=watcher(console, report), data=data)
    for line in described(picked):
        console.print(escape(line), highlight=False, soft_wrap=True)
    return picked


def described(picked: Pick) -> list[str]:
    """The choice in sentences."""
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
