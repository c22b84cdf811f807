"""Forest plots: an interval for each comparison beside the line of no difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...report.figures.style import STYLE, import_matplotlib, new_figure, saved
from ...report.palette import BLUE, GREY, VERMILION
from ..comparison import ClaimOutcome, Compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: dict[ClaimOutcome, str] = {"confirmed": BLUE, "refuted": VERMILION, "undecided": GREY, "not run": GREY}


@dataclass(frozen=True)
class Group:
    """Rows under one heading."""

    heading: str
    rows: tuple[Compared, ...]


def forest_picture(title: str, axis: str, groups: Sequence[Group], names: dict[ClaimOutcome, str], kind: str) -> bytes:
    """``groups`` from top to bottom as ``svg`` or ``png``; ``names`` is what the legend calls the outcomes.

    A hollow diamond is the paper's difference; what was not run stands without an interval.
    """
    height = 1.3 + 0.24 * sum(len(group.rows) + 1.4 for group in groups)
    with import_matplotlib().rc_context(STYLE):
        figure = new_figure(9.0, height)
        axes = figure.add_subplot()
        ticks: list[tuple[float, str, str]] = []
        place = 0.0
        for group in groups:
            ticks.append((place, group.heading, "bold"))
            for row in group.rows:
                place -= 1
                ticks.append((place, row.comparison.label, "normal"))
                _draw(axes, row, place)
            place -= 1.4
        axes.axvline(0, color="#1c2127", linewidth=0.9, zorder=1)
        axes.set_yticks([at for at, _, _ in ticks], [text for _, text, _ in ticks])
        for label, (_, _, weight) in zip(axes.get_yticklabels(), ticks, strict=True):
            label.set_parse_math(False)
            label.set_fontweight(weight)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(place + 0.7, 0.8)
        axes.set_xlabel(axis, parse_math=False)
        axes.set_title(title, loc="left", fontweight="bold", parse_math=False)
        _legend(axes, [row for group in groups for row in group.rows], names)
        return saved(figure, kind)


def _draw(axes: Axes, row: Compared, place: float) -> None:
    color = COLOURS[row.outcome]
    if row.paired is not None and row.outcome != "not run":
        axes.plot([row.paired.low, row.paired.high], [place, place], color=color, linewidth=1.8, zorder=3)
        axes.plot([row.paired.mean], [place], "o", color=color, markersize=5, zorder=4)
    elif row.comparison.paper is None:
        axes.text(0, place, " not run", color=GREY, va="center", fontsize=7.5)
    if row.comparison.paper is not None:
        axes.plot([row.comparison.paper], [place], "D", markerfacecolor="none", markeredgecolor="#59626d", markersize=5)


def _legend(axes: Axes, rows: Sequence[Compared], names: dict[ClaimOutcome, str]) -> None:
    from matplotlib.lines import Line2D

    seen = dict.fromkeys(row.outcome for row in rows if row.outcome != "not run")
    handles = [Line2D([], [], color=COLOURS[outcome], marker="o", label=names[outcome]) for outcome in seen]
    if any(row.comparison.paper is not None for row in rows):
        empty = {"markerfacecolor": "none", "markeredgecolor": "#59626d"}
        handles.append(Line2D([], [], linestyle="", marker="D", label="the paper's difference", **empty))  # type: ignore[arg-type]  # by name
    if handles:
        axes.figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), frameon=False)
