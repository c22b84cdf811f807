"""A search's folder where a plan's is needed: which command makes the plan."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..errors import PlanError

PLAN, SEARCH, FRONTIER = "plan.json", "search.json", "frontier.json"


def refuse_search(folder: Path) -> None:
    """Raise `PlanError`, with the command that makes a plan of it, if ``folder`` holds a search and no plan."""
    if (folder / PLAN).exists():
        return
    if (folder / FRONTIER).is_file():
        made = folder / "plan"
        steps = f"deepreduce export {_quoted(folder)} --out {_quoted(made)}, then deepreduce serve {_quoted(made)}"
        there = (made / PLAN).is_file()
        raise PlanError(
            f"{folder} is the folder of a search, not of a plan",
            f"it has a plan in {_quoted(made)}" if there else f"{steps}",
        )
    if (folder / SEARCH).is_file():
        raise PlanError(
            f"{folder} is the folder of a search that is not finished",
            f"run its command again, then deepreduce export {_quoted(folder)}",
        )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
