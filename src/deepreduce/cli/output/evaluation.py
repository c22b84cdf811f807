"""An evaluation for people: accuracies, agreement, what an image costs, and the confusion table."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...units import show_bytes, show_seconds

MOST_COLUMNS = 12  # classes of a confusion table; of more classes the largest confusions are listed
MOST_CONFUSIONS = 10


def print_evaluation(result: dict[str, Any], errors: Console) -> None:
    """Print what `Evaluation.summary` gave, with the keys that evaluate adds."""
    console = Console(soft_wrap=True, highlight=False)
    for failed in result["errors"]:
        hint = f" ({failed['hint']})" if failed["hint"] else ""
        errors.print(f"[bold red]error:[/] {escape(failed['error'] + hint)}", highlight=False, soft_wrap=True)
    for note in result["notes"]:
        errors.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    table = Table.grid(padding=(0, 3))
    table.add_row("answered", f"{result['answered']} of {result['images']} in {show_seconds(result['seconds'])}")
    for name, key in (
        ("accuracy", "accuracy"),
        ("accuracy in the clear", "clear_accuracy"),
        ("same class", "agreement"),
    ):
        if result[key] is not None:
            table.add_row(name, _shown_share(result[key]))
    if result["equal"] is not None:
        same = result["equal"]["count"] == result["equal"]["of"]
        largest = f"largest difference of a logit: {result['largest_difference']:.3g}"
        table.add_row("logits", "equal to the plan's integers, all of them" if same else largest)
    if result["online_seconds"] is not None:
        seconds = f"{show_seconds(result['online_seconds'])} online, {show_seconds(result['offline_seconds'])} offline"
        table.add_row(
            "an image", f"{seconds}, {show_bytes(result['down_bytes'])} down, {show_bytes(result['up_bytes'])} up"
        )
    table.add_row("plan", f"{result['plan'][:12]}, protocol {result['protocol']}")
    console.print(table)
    if result["confusion"] is not None:
        console.print()
        console.print(_confusion(result["confusion"], result["classes"]))


def _shown_share(share: dict[str, int]) -> str:
    return f"{100 * share['count'] / share['of']:.1f} % ({share['count']} of {share['of']})"


def _confusion(counts: list[list[int]], classes: list[str]) -> Table | str:
    """Return the table, rows of true classes, or for many classes the pairs that are confused most."""
    if len(classes) <= MOST_COLUMNS:
        table = Table(title="confusion (rows: true classes, columns: answers)", title_justify="left", box=None)
        table.add_column("")
        for name in classes:
            table.add_column(escape(name), justify="right", no_wrap=True)
        for name, row in zip(classes, counts, strict=True):
            table.add_row(escape(name), *("." if not count else str(count) for count in row))
        return table
    pairs = [
        (count, true, found)
        for true, row in enumerate(counts)
        for found, count in enumerate(row)
        if count and true != found
    ]
    pairs.sort(key=lambda one: (-one[0], one[1:]))
    if not pairs:
        return "no class was confused with another"
    table = Table(title="most confused", title_justify="left", box=None)
    for column in ("true class", "answer", "images"):
        table.add_column(column, justify="right" if column == "images" else "left")
    for count, true, found in pairs[:MOST_CONFUSIONS]:
        table.add_row(escape(classes[true]), escape(classes[found]), str(count))
    return table
