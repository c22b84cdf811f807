"""A table drawn: each row's accuracies, the paper's hollow, ours with intervals; or accuracy against ReLUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..report.drawing import STYLE, matplotlib, new_figure, saved
from ..report.palette import BLUE, GREY, ORANGE
from .published import Point, published_points
from .scale import Scale
from .statistics import Summary
from .table import WITH, WITHOUT, printed_count
from .table_view import RowView, TableView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {WITHOUT: ORANGE, WITH: BLUE}
_PAPER: dict[str, Any] = {"linestyle": "", "marker": "D", "markerfacecolor": "none", "markersize": 5}
_MARKERS = "sv^<>pPXhd"


def table_picture(view: TableView, scale: Scale, kind: str) -> bytes:
    """As ``svg`` or ``png``."""
    with matplotlib().rc_context(STYLE):
        return (_frontier if view.table.picture == "frontier" else _accuracies)(view, scale, kind)


def _accuracies(view: TableView, scale: Scale, kind: str) -> bytes:
    figure = new_figure(8.4, 1.4 + 0.3 * len(view.rows))
    axes = figure.add_subplot()
    names = []
    for place, row in enumerate(view.rows):
        names.append(f"{row.group}  {row.label}".strip())
        for cell in row.cells:
            height = place + 0.14 * (-1 if cell.column == WITHOUT else 1)
            colour = COLOURS[cell.column]
            if cell.paper is not None:
                axes.plot([cell.paper], [height], markeredgecolor=colour, **_PAPER)
            if cell.ours is not None:
                _interval(axes, cell.ours.test, height, colour)
    axes.set_yticks(range(len(names)), names)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("test accuracy (%)")
    _finish(axes, view, scale, [column for column in view.table.columns if any(row.cell(column) for row in view.rows)])
    return saved(figure, kind)


def _interval(axes: Axes, summary: Summary, height: float, colour: str) -> None:
    if summary.low is not None and summary.high is not None:
        axes.plot([summary.low, summary.high], [height, height], color=colour, linewidth=1.6)
    axes.plot([summary.mean], [height], "o", color=colour, markersize=5)


def _frontier(view: TableView, scale: Scale, kind: str) -> bytes:
    figure = new_figure(8.4, 4.8)
    axes = figure.add_subplot()
    for row in view.rows:
        for cell in row.cells:
            if cell.paper is not None:
                axes.plot([printed_count(row.printed_relus)[0]], [cell.paper], markeredgecolor=GREY, zorder=3, **_PAPER)
    ours = [(row, cell.ours.test) for row in view.rows for cell in row.cells if cell.ours is not None]
    for row, test in ours:
        _upright(axes, row, test)
    if view.comparable:
        for (method, points), marker in zip(_published(view).items(), _MARKERS, strict=False):
            places = [point.relus for point in points], [point.accuracy for point in points]
            axes.plot(
                *places,
                linestyle="",
                marker=marker,
                markerfacecolor="none",
                markeredgecolor="#59626d",
                markersize=4.5,
                label=f"{method} (published)",
            )
    axes.set_xscale("log")
    axes.set(xlabel="ReLUs", ylabel="test accuracy (%)")
    _finish(axes, view, scale, [WITHOUT, WITH] if ours else [])
    return saved(figure, kind)


def _upright(axes: Axes, row: RowView, test: Summary) -> None:
    assert row.relus is not None
    colour = BLUE if row.cell(WITH) is not None else ORANGE
    if test.low is not None and test.high is not None:
        axes.plot([row.relus, row.relus], [test.low, test.high], color=colour, linewidth=1.6)
    axes.plot([row.relus], [test.mean], "o", color=colour, markersize=5, zorder=4)


def _published(view: TableView) -> dict[str, list[Point]]:
    data = next(row.data for row in view.rows if row.data)
    found: dict[str, list[Point]] = {}
    for point in published_points(data):
        found.setdefault(point.method, []).append(point)
    return found


def _finish(axes: Axes, view: TableView, scale: Scale, columns: list[str]) -> None:
    from matplotlib.lines import Line2D

    handles, _ = axes.get_legend_handles_labels()
    seen = [column for column in columns if any((c := row.cell(column)) is not None and c.ours for row in view.rows)]
    ours = [Line2D([], [], color=COLOURS[column], marker="o", label=f"ours, {column}") for column in seen]
    paper = Line2D([], [], markeredgecolor=GREY, label="the paper", **_PAPER)
    axes.legend(handles=[*ours, paper, *handles], loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    note = "" if view.comparable else f"; ours at scale {scale.name}: smaller networks, other accuracies"
    axes.set_title(
        f"{view.table.name}: {view.table.title}{note}", loc="left", fontsize=8.5, parse_math=False, wrap=True
    )
