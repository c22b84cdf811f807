"""Pictures for papers and slides, drawn with matplotlib: the frontier, and where a network's ReLUs sit."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import SettingError
from ...files import write_whole
from ..formatting import clipped, short
from ..palette import BLUE, GREY, ORANGE, stage_colors
from ..reading.records import ReportedNetwork, ReportedProfile
from ..views.axis import RELUS, Axis
from ..views.distribution import DistributionView, compute_distribution
from ..views.frontier import FrontierView, accuracy, compute_frontier
from ..views.published import NOTHING, PublishedView, style
from ..views.report import ReportView
from .style import STYLE, import_matplotlib, kind_of, new_figure, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Where a name stands beside its point, in points.
_CORNERS: dict[str, dict[str, Any]] = {
    "top left": {"xytext": (-5, 4), "ha": "right", "va": "bottom"},
    "bottom right": {"xytext": (5, -4), "ha": "left", "va": "top"},
}


def frontier_figure(view: ReportView, path: Path) -> Path:
    """Write the frontier as SVG or PNG by the suffix of ``path``."""
    return write_whole(path, frontier_picture(view, kind_of(path)))


def frontier_picture(view: ReportView, kind: str, axis: Axis = RELUS, published: PublishedView = NOTHING) -> bytes:
    """Return the frontier (``axis``, logarithmic, against validation accuracy) as ``svg`` or ``png``.

    ``published`` networks are drawn beside it; they have ReLUs and nothing else to be drawn against.
    """
    if published.methods and axis != RELUS:
        raise SettingError(f"published networks cannot be drawn against {axis.quantity}", "only against relus")
    frontier = compute_frontier(view.networks, axis, published.places)
    with import_matplotlib().rc_context(STYLE):
        figure = new_figure(9.6, 5.0) if published.methods else new_figure(7.2, 4.4)
        axes = figure.add_subplot()
        _draw_published(axes, published)
        _draw_frontier(axes, frontier, published)
        title = clipped(f"{view.model} on {view.search.data.name}", 70)
        axes.set_title(title, loc="left", fontweight="bold", parse_math=False)
        return saved(figure, kind)


def distribution_figure(profile: Mapping[str, Any] | ReportedProfile, path: Path) -> Path:
    """Write each layer's part of the ReLUs, parameters and MACs, colored by stage, as SVG or PNG by the suffix.

    ``profile`` has the shape of ``profile`` in ``frontier.json``: totals, ``stages`` and ``layers``.
    """
    kind = kind_of(path)
    distribution = compute_distribution(ReportedProfile.of(profile))
    with import_matplotlib().rc_context(STYLE):
        figure = new_figure(min(max(6.4, 0.3 * len(distribution.layers) + 1.5), 16), 5.6)
        _draw_distribution(figure, distribution)
        return write_whole(path, saved(figure, kind))


def _draw_published(axes: Axes, published: PublishedView) -> None:
    for method in published.methods:
        color, _, marker = style(method)
        places = [point.place for point in method.points]
        axes.errorbar(
            places,
            [point.accuracy for point in method.points],
            xerr=[
                [x - point.relus[0] for x, point in zip(places, method.points, strict=True)],
                [point.relus[1] - x for x, point in zip(places, method.points, strict=True)],
            ],
            fmt=marker,
            markerfacecolor="none",
            markeredgecolor=color,
            ecolor=color,
            elinewidth=0.8,
            markersize=6.5,
            label=published.label(method),
            zorder=1.5,
        )


def _draw_frontier(axes: Axes, frontier: FrontierView, published: PublishedView) -> None:
    for points, label, fill in ((frontier.dominated, "dominated", GREY), (frontier.profiled, "profiling run", "none")):
        if points:
            axes.scatter(
                *_xy(frontier, points), s=22, facecolors=fill, edgecolors=GREY, linewidths=1, label=label, zorder=2
            )
    if frontier.frontier:
        x, y = _xy(frontier, frontier.frontier)
        # A step, not a slope: between two networks a budget buys the smaller one.
        axes.step(x, y, where="post", color=BLUE, linewidth=1.4, zorder=3)
        axes.scatter(x, y, s=34, color=BLUE, label="Pareto frontier", zorder=4)
    if frontier.teacher:
        x, y = _xy(frontier, (frontier.teacher,))
        axes.scatter(x, y, s=70, marker="D", color=ORANGE, edgecolors="white", label="full network", zorder=5)
    for network in frontier.frontier:
        if network.job in frontier.named:
            place = (frontier.x(network), accuracy(network))
            corner = _CORNERS[frontier.named[network.job]]
            text = axes.annotate(network.label, place, textcoords="offset points", fontsize=7.5, **corner)
            text.set_parse_math(False)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set(ylabel="validation accuracy (%)")
    axes.set_xlabel(frontier.axis.title, parse_math=False)
    axes.margins(x=0.06, y=0.09)
    if frontier.drawn:
        limits = axes.get_xlim()
        ticks = frontier.ticks_with(x for x, _ in published.places)
        axes.set_xticks(ticks, [frontier.axis.tick(value) for value in ticks])
        axes.set_xlim(limits)  # Ticks beyond the points would widen the axis.
        _legend(axes, published)


def _legend(axes: Axes, published: PublishedView) -> None:
    if not published.methods:
        axes.legend(loc="lower right", frameon=False)
        return
    legend = axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        frameon=False,
        title=textwrap.fill(published.caution, 34),
        alignment="left",
    )
    for text in (legend.get_title(), *legend.get_texts()):
        text.set_parse_math(False)
    legend.get_title().set_fontsize(7.5)


def _draw_distribution(figure: Figure, view: DistributionView) -> None:
    colors = stage_colors(view.stage_names)
    places = range(len(view.layers))
    panels = (
        ("ReLUs", view.relus, [layer.relu_share for layer in view.layers]),
        ("parameters", view.params, [layer.param_share for layer in view.layers]),
        ("MACs", view.macs, [layer.mac_share for layer in view.layers]),
    )
    bars = [colors[layer.cost.stage] for layer in view.layers]
    all_axes = figure.subplots(len(panels), sharex=True)
    for axes, (name, total, heights) in zip(all_axes, panels, strict=True):
        axes.bar(places, heights, color=bars, width=0.78)
        axes.set_title(f"{name}: {short(total)} in total", loc="left", fontsize=9)
        axes.set_ylabel("% of total")
        axes.grid(visible=False, axis="x")
    all_axes[-1].set_xticks(
        places, [clipped(layer.cost.name, 28) for layer in view.layers], rotation=60, ha="right", fontsize=7
    )
    for label in all_axes[-1].get_xticklabels():
        label.set_parse_math(False)
    all_axes[-1].set_xlabel("layer, from input to output")
    # Proxies, since one call draws bars of every stage.
    from matplotlib.patches import Patch

    patches = [Patch(color=color, label=clipped(stage, 20)) for stage, color in colors.items()]
    legend = figure.legend(handles=patches, loc="outside upper right", ncols=len(patches), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _xy(frontier: FrontierView, points: tuple[ReportedNetwork, ...]) -> tuple[list[float], list[float]]:
    return [frontier.x(network) for network in points], [accuracy(network) for network in points]
