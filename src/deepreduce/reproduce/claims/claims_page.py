"""Verdicts on claims as files: ``NAME.json``, ``NAME.md`` and the forest plot ``NAME.svg``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...files import write_whole
from ..comparison import MINIMUM_SEEDS, ClaimOutcome, Compared, Lookup
from ..provenance import provenance, provenance_lines, today, used
from ..scale import Scale
from .claims import Verdict
from .forest_plot import Group, forest_picture

NAMES: dict[ClaimOutcome, str] = {
    "confirmed": "confirmed",
    "refuted": "refuted",
    "undecided": "undecided",
    "not run": "not run",
}
RULE = (
    f"Test accuracies (of the epoch that did best on validation images) compared seed by seed; with fewer than "
    f"{MINIMUM_SEEDS} common seeds a claim is not run. A claim of k comparisons has k intervals of Student's t at the "
    "level 1 - 0.05/k, so that all hold together with 95 % (Bonferroni); p is that of the paired t-test, times k. "
    "It is confirmed if every interval lies on the claimed side of zero, refuted if any lies wholly on the other, else "
    "undecided. Claims are not adjusted for each other."
)


def write_claims(
    folder: Path,
    scale: Scale,
    verdicts: Sequence[Verdict],
    lookup: Lookup,
    seeds: Sequence[int],
    command: str,
    date: str | None = None,
    figures: bool = True,
    name: str = "claims",
    heading: str = "The paper's claims",
) -> list[Path]:
    """Write all three files (without ``figures`` the first two) into ``folder``, all made before the first is written.

    ``date`` is today's by default. Raises `MissingPackageError` where figures are wanted and matplotlib is missing.
    """
    content = claims_json(scale, verdicts, lookup, seeds, command, date or today())
    files = {
        f"{name}.json": (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(),
        f"{name}.md": claims_markdown(content, heading).encode(),
    }
    if figures:
        files[f"{name}.svg"] = claims_picture(scale, verdicts, "svg", heading)
    return [write_whole(folder / file, made) for file, made in files.items()]


def claims_json(
    scale: Scale, verdicts: Sequence[Verdict], lookup: Lookup, seeds: Sequence[int], command: str, date: str
) -> dict[str, Any]:
    """Return everything as plain data."""
    wanted = [(t, s) for verdict in verdicts for t in verdict.claim.trainings for s in seeds]
    return {
        **provenance(scale, seeds, command, date, used(lookup, wanted)),
        "rule": RULE,
        "claims": [
            {
                "name": verdict.claim.name,
                "sentence": verdict.claim.sentence,
                "source": verdict.claim.source,
                "notes": verdict.claim.notes,
                "outcome": verdict.outcome,
                "seeds": verdict.seeds,
                "comparisons": [compared_json(found) for found in verdict.compared],
            }
            for verdict in verdicts
        ],
    }


def compared_json(found: Compared) -> dict[str, Any]:
    """Return one comparison as plain data; values are those of ``paired.seeds``, in their order."""
    paired = None if found.paired is None else {**asdict(found.paired), "adjusted_p": found.paired.adjusted_p}
    return {
        "above": found.comparison.above.name,
        "below": found.comparison.below.name,
        "unit": found.comparison.above.unit,
        "paper": found.comparison.paper,
        "outcome": found.outcome,
        "seeds": found.seeds,
        "above_values": list(found.above),
        "below_values": list(found.below),
        "paired": paired,
    }


def claims_markdown(content: dict[str, Any], heading: str = "The paper's claims") -> str:
    """Return the page of what `claims_json` made."""
    lines = [f"# {heading} at scale {content['scale']['name']}", "", *provenance_lines(content), ""]
    lines += [content["rule"], "", "| claim | verdict | seeds |", "|---|---|---:|"]
    for claim in content["claims"]:
        lines.append(f"| {claim['sentence']} ({claim['source']}) | {_shown(claim)} | {claim['seeds']} |")
    lines += [
        "",
        "Differences in points of accuracy, those of C in C; the paper's are of single runs at its own scale.",
        "",
    ]
    lines += ["| comparison | ours | interval | p | the paper's | n | |", "|---|---:|---|---:|---:|---:|---|"]
    for claim in content["claims"]:
        lines.append(f"| **{claim['name']}** | | | | | | |")
        lines += [compared_row(row) for row in claim["comparisons"]]
    notes = [f"* **{claim['name']}**: {claim['notes']}" for claim in content["claims"] if claim["notes"]]
    return "\n".join([*lines, "", *notes, ""])


def compared_row(row: dict[str, Any]) -> str:
    """Return one comparison as a row of the table."""
    paired = row["paired"]
    ours, interval, p = "–", "–", "–"
    if paired is not None:
        ours, interval = signed(paired["mean"]), f"{signed(paired['low'])} to {signed(paired['high'])}"
        p = probability(paired["adjusted_p"])
    paper = "–" if row["paper"] is None else signed(row["paper"])
    name = f"{row['above']} over {row['below']}"
    return f"| {name} | {ours} | {interval} | {p} | {paper} | {row['seeds']} | {row['outcome']} |"


def claims_picture(scale: Scale, verdicts: Sequence[Verdict], kind: str, heading: str = "The paper's claims") -> bytes:
    """Return the forest plot of all comparisons as ``svg`` or ``png``."""
    groups = [Group(f"{verdict.claim.name}: {verdict.outcome}", verdict.compared) for verdict in verdicts]
    title = f"{heading} at scale {scale.name}"
    axis = "difference in points of accuracy (of C for criticality),\nintervals adjusted within each claim"
    return forest_picture(title, axis, groups, NAMES, kind)


def signed(value: float) -> str:
    """Return a number with its sign and two decimals."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def probability(p: float) -> str:
    """Three decimals are as many as a few seeds give."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _shown(claim: dict[str, Any]) -> str:
    outcome: str = claim["outcome"]
    if outcome != "not run":
        return f"**{outcome}**"
    complete = sum(row["outcome"] != "not run" for row in claim["comparisons"])
    return f"not run ({complete} of {len(claim['comparisons'])} comparisons are)" if complete else "not run"
