"""The ablation as files: ``ablation.json``, ``ablation.md`` and the forest plot ``ablation.svg``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...files import write_whole
from ..comparison import MINIMUM_SEEDS, ClaimOutcome, Lookup
from ..provenance import provenance, provenance_lines, today, used
from ..scale import Scale
from .ablation import Ablated, Ablation, needed
from .claims_page import compared_json, probability, signed
from .forest_plot import Group, forest_picture

NAMES: dict[ClaimOutcome, str] = {
    "confirmed": "better",
    "refuted": "worse",
    "undecided": "undecided",
    "not run": "not run",
}
RULE = (
    "Paired differences in points of validation accuracy, for test images choose nothing here (only all kept over the "
    "base is given in test accuracy, of the epoch that did best on validation images), over the same "
    f"seeds, with 95 % intervals of Student's t and the p of the paired t-test, for at least {MINIMUM_SEEDS} seeds. An "
    "ingredient is kept if its interval lies above zero, and of those that exclude each other the one of the largest "
    "mean. Each is a question of its own, not adjusted for the others: of forty that do nothing one would be kept by "
    "chance. In the network with everything kept an ingredient stays unless it is shown to hurt there."
)


def write_ablation(
    folder: Path,
    scale: Scale,
    found: Ablation,
    lookup: Lookup,
    seeds: Sequence[int],
    command: str,
    date: str | None = None,
    figures: bool = True,
) -> list[Path]:
    """Write all three files (without ``figures`` the first two) into ``folder``, all made before the first is written.

    ``date`` is today's by default. Raises `MissingPackageError` where figures are wanted and matplotlib is missing.
    """
    content = ablation_json(scale, found, lookup, seeds, command, date or today())
    files = {
        "ablation.json": (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(),
        "ablation.md": ablation_markdown(content).encode(),
    }
    if figures:
        files["ablation.svg"] = ablation_picture(scale, found, "svg")
    return [write_whole(folder / name, made) for name, made in files.items()]


def ablation_json(
    scale: Scale, found: Ablation, lookup: Lookup, seeds: Sequence[int], command: str, date: str
) -> dict[str, Any]:
    """Return everything as plain data."""
    records = used(lookup, needed(scale, lookup, seeds, found.base.data))
    return {
        **provenance(scale, seeds, command, date, records),
        "rule": RULE,
        "base": str(found.base),
        "complete": found.complete,
        "kept": [part.name for part in found.kept] if found.complete else None,
        "alone": [_json(row) for row in found.alone],
        "further": [compared_json(row) for row in found.further],
        "together": compared_json(found.together) if found.together else None,
        "without": [_json(row) for row in found.without],
    }


def ablation_markdown(content: dict[str, Any]) -> str:
    """Return the page of what `ablation_json` made."""
    lines = [f"# Ingredients of a recipe at scale {content['scale']['name']}", "", *provenance_lines(content), ""]
    lines += [content["rule"], "", f"The base is `{content['base']}` by the scale's recipe.", ""]
    lines += [*_head("over the base"), *(_line(row["ingredient"], row, row["kept"]) for row in content["alone"])]
    if content["further"]:
        lines += ["", *_head("over another")]
        lines += [_line(f"{row['above']} over {row['below']}", row, None) for row in content["further"]]
    if content["kept"] is not None:
        lines += ["", f"Kept: {', '.join(content['kept']) or 'none'}."]
    if content["together"]:
        lines += ["", *_head("put together"), _line("all kept over the base", content["together"], None)]
        lines += [_line(f"all over {row['below']}", row, row["kept"]) for row in content["without"]]
    return "\n".join([*lines, ""])


def ablation_picture(scale: Scale, found: Ablation, kind: str) -> bytes:
    """Return the forest plot as ``svg`` or ``png``."""
    groups = [Group("each alone", tuple(row.compared for row in found.alone))]
    if found.further:
        groups.append(Group("one over another", found.further))
    if found.together is not None:
        groups.append(Group("put together", (found.together, *(row.compared for row in found.without))))
    title = f"Ingredients of a recipe at scale {scale.name}"
    return forest_picture(title, "difference in points of accuracy, 95 % interval", groups, NAMES, kind)


def _json(row: Ablated) -> dict[str, Any]:
    part = row.ingredient
    return {
        "ingredient": part.name,
        "family": part.family,
        "settings": dict(part.settings),
        "teacher": dict(part.teacher),
        "kept": row.kept,
        **compared_json(row.compared),
    }


def _head(title: str) -> list[str]:
    return [f"| {title} | difference | interval | p | n | | kept |", "|---|---:|---|---:|---:|---|---|"]


def _line(name: str, row: dict[str, Any], kept: bool | None) -> str:
    paired = row["paired"]
    cells = ["–", "–", "–"]
    if paired is not None:
        p = "–" if paired["p"] is None else probability(paired["p"])
        cells = [signed(paired["mean"]), f"{signed(paired['low'])} to {signed(paired['high'])}", p]
    outcome: ClaimOutcome = row["outcome"]
    verdict = {None: "", True: "kept", False: "no"}[kept]
    return f"| {name} | {' | '.join(cells)} | {row['seeds']} | {NAMES[outcome]} | {verdict} |"
