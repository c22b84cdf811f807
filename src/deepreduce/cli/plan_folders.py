"""Folders of plans as they are typed: one, or those of ``serve`` by name, read at the start and at every SIGHUP."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PlanError, SettingError

if TYPE_CHECKING:
    from ..plan import Plan, PlanFolder

    PlanWeights = tuple[Plan, dict[str, Any]]

PLAN, SEARCH, FRONTIER = "plan.json", "search.json", "frontier.json"


def read_plan_folder(path: Path) -> PlanFolder:
    """Read a plan's folder, or the folder of a plan.json. Raises `PlanError`."""
    from ..plan import read_folder

    _refuse_search(path.parent if path.name == PLAN else path)
    return read_folder(path)


@dataclass(frozen=True)
class PlanFolders:
    """Folders by the names of their plans; "" is the name of one that has none. ``link``: what to lay them out for."""

    paths: dict[str, Path]
    link: str | None

    def read(self, name: str) -> PlanWeights:
        """Return a plan and its weights as they are now. Raises `PlanError`."""
        from ..plan.cost import layout_rate, parse_link

        found = read_plan_folder(self.paths[name])
        plan = found.plan
        if self.link is not None:
            plan = replace(plan, link_rate=layout_rate(parse_link(self.link)))
        return plan, found.weights

    def read_all(self) -> dict[str, PlanWeights]:
        """Return all of them. Raises `PlanError`."""
        return {name: self.read(name) for name in self.paths}

    def shown(self, name: str) -> str:
        """Return NAME=FOLDER, or FOLDER."""
        path = self.paths[name]
        folder = path.parent if path.name == PLAN else path
        return f"{name}={folder}" if name else str(folder)


def plan_folders(texts: Sequence[str], link: str | None) -> PlanFolders:
    """Return what ``[NAME=]PLAN ...`` means. Raises `SettingError`."""
    from ..inference.transport import check_plan_name

    paths: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or "/" in name:  # a path may have an equals sign: ./a=b
            name, path = "", text
        elif not name or not path:
            raise SettingError(f"{text!r:.200} is neither a folder nor NAME=FOLDER", "write the name before, as a=plan")
        check_plan_name(name)
        if name in paths:
            called = f"are called {name!r}" if name else "have no name"
            raise SettingError(f"two plans {called}", "give each a name of its own: NAME=PLAN")
        paths[name] = Path(path)
    return PlanFolders(paths, link)


def _refuse_search(folder: Path) -> None:
    """Raise `PlanError`, with the command that makes a plan of it, if ``folder`` holds a search and no plan."""
    if (folder / PLAN).exists():
        return
    if (folder / FRONTIER).is_file():
        made = folder / "plan"
        steps = f"deepreduce export {_quoted(folder)} --out {_quoted(made)}, then deepreduce serve {_quoted(made)}"
        there = (made / PLAN).is_file()
        raise PlanError(
            f"{folder} is the folder of a search, not of a plan",
            f"it has a plan in {_quoted(made)}" if there else steps,
        )
    if (folder / SEARCH).is_file():
        raise PlanError(
            f"{folder} is the folder of a search that is not finished",
            f"run its command again, then deepreduce export {_quoted(folder)}",
        )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
