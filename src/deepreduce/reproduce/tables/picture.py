"""A table drawn: each row's accuracies, the paper's hollow, ours with intervals; or accuracy against ReLUs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...report.figures.style import STYLE, import_matplotlib, new_figure, saved
from ...report.palette import BLUE, GREY, ORANGE, PURPLE
from ...report.published import published_on
from ..statistics import SeedSummary
from ..table import WITH, WITHOUT, printed_count
from .view import TableView

OURS_TO_RUN = "DeepReDuce"  # its points are the tables' own


@dataclass(frozen=True)
class DrawnPoint:
    """``relus`` and ``accuracy`` (percent) as ``method``'s authors report them."""

    method: str
    relus: float
    accuracy: float


def published_points(data: str) -> tuple[DrawnPoint, ...]:
    """Return the published points of other methods on the data set ``data``."""
    return tuple(
        DrawnPoint(f"{method.name} {method.year}", point.place, point.accuracy)
        for method in published_on(data)
        if method.name != OURS_TO_RUN
        for point in method.points
    )


if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {WITHOUT: ORANGE, WITH: BLUE}
_PAPER: dict[str, Any] = {"linestyle": "", "marker": "D", "markerfacecolor": "none", "markersize": 5}
_MARKERS = "sv^<>pPXhd"


def table_picture(view: TableView, kind: str) -> bytes:
    """Draw the table as ``svg`` or ``png``. At another scale than the paper's, ours has a panel, and an axis, of its
    own.
    """
    frontier = view.table.picture == "frontier"
    apart = not view.comparable and view.trained > 0
    height = 4.6 if frontier else 1.5 + 0.28 * len(view.rows)
    with import_matplotlib().rc_context(STYLE):
        figure = new_figure(12.0 if apart else 8.6, height)
        panels = list(figure.subplots(1, 2 if apart else 1, sharey=not frontier, squeeze=False)[0])
        draw = _frontier if frontier else _accuracies
        draw(panels[0], view, True, not apart)
        if apart:
            draw(panels[1], view, False, True)
            panels[0].set_title("the paper", loc="left", fontsize=9)
            panels[1].set_title("ours, smaller networks", loc="left", fontsize=9)
        figure.suptitle(f"{view.table.name}: {view.table.title}", x=0.01, ha="left", fontsize=9, parse_math=False)
        _legend(panels[-1], view)
        return saved(figure, kind)


def _accuracies(axes: Axes, view: TableView, paper: bool, ours: bool) -> None:
    names = [f"{row.group}  {row.label}".strip() for row in view.rows]
    for place, row in enumerate(view.rows):
        for cell in row.cells:
            height = place + 0.14 * (-1 if cell.column == WITHOUT else 1)
            color = COLOURS[cell.column]
            if paper and cell.paper is not None:
                axes.plot([cell.paper], [height], markeredgecolor=color, **_PAPER)
            if ours and cell.ours is not None:
                low, high = _ends(cell.ours.test)
                axes.plot([low, high], [height, height], color=color, linewidth=1.6)
                axes.plot([cell.ours.test.mean], [height], "o", color=color, markersize=5)
    axes.set_yticks(range(len(names)), names)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("test accuracy (%)")


def _frontier(axes: Axes, view: TableView, paper: bool, ours: bool) -> None:
    cells = [(row, cell) for row in view.rows for cell in row.cells]
    if paper:
        printed = [(printed_count(row.printed_relus)[0], c.paper) for row, c in cells if c.paper is not None]
        for relus, accuracy in printed:
            axes.plot([relus], [accuracy], markeredgecolor=GREY, zorder=3, **_PAPER)
        _steps(axes, printed, GREY)
        _draw_published(axes, view)
    if ours:
        found = [(row.relus, c.ours.test, c.column) for row, c in cells if c.ours is not None and row.relus]
        for count, test, column in found:
            axes.plot([count, count], _ends(test), color=COLOURS[column], linewidth=1.6)
            axes.plot([count], [test.mean], "o", color=COLOURS[column], markersize=5, zorder=4)
        _steps(axes, [(count, test.mean) for count, test, _ in found], BLUE)
    axes.set_xscale("log")
    axes.set(xlabel="ReLUs", ylabel="test accuracy (%)")


def _ends(summary: SeedSummary) -> tuple[float, float]:
    if summary.low is None or summary.high is None:
        return summary.mean, summary.mean
    return summary.low, summary.high


def _steps(axes: Axes, points: Sequence[tuple[float, float]], color: str) -> None:
    """The Pareto frontier: a step, since between two networks a budget buys the smaller one."""
    best: list[tuple[float, float]] = []
    for relus, accuracy in sorted(points):
        if not best or accuracy > best[-1][1]:
            best.append((relus, accuracy))
    axes.step([x for x, _ in best], [y for _, y in best], where="post", color=color, linewidth=1.1, zorder=2)


def _draw_published(axes: Axes, view: TableView) -> None:
    data = next((row.data for row in view.rows if row.data), "")
    methods: dict[str, list[DrawnPoint]] = {}
    for point in published_points(data):
        methods.setdefault(point.method, []).append(point)
    for (method, points), marker in zip(methods.items(), itertools.cycle(_MARKERS), strict=False):
        axes.plot(
            [point.relus for point in points],
            [point.accuracy for point in points],
            linestyle="",
            marker=marker,
            markerfacecolor="none",
            markeredgecolor=PURPLE,
            markersize=4.5,
            label=f"{method} (published)",
        )


def _legend(axes: Axes, view: TableView) -> None:
    from matplotlib.lines import Line2D

    cells = [cell for row in view.rows for cell in row.cells]
    columns = [column for column in view.table.columns if any(cell.column == column for cell in cells)]
    trained = [column for column in columns if any(cell.column == column and cell.ours is not None for cell in cells)]
    handles = [Line2D([], [], color=COLOURS[column], marker="o", label=f"ours, {column}") for column in trained]
    if view.table.picture == "frontier":
        handles.append(Line2D([], [], markeredgecolor=GREY, label="the paper", **_PAPER))
    else:
        for column in columns:
            handles.append(Line2D([], [], markeredgecolor=COLOURS[column], label=f"the paper, {column}", **_PAPER))
    figure = axes.get_figure()
    assert figure is not None
    drawn = [handle for panel in figure.get_axes() for handle in panel.get_legend_handles_labels()[0]]
    axes.legend(handles=[*handles, *drawn], loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
