"""The page's interactive charts, as plotly figures without colors of their own for text, grid and background.

The page's script adds those, in light or dark. Plotly reads a subset of HTML in every text it shows, so whatever comes
from a file goes through `escaped`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..formatting import decimal, percent, whole
from ..palette import BLUE, CYCLE, GREEN, GREY, QUANTITIES, stage_colors
from ..reading.records import Criticality
from ..reading.search_folder import Curve
from ..views.distribution import DistributionView, StageShare
from ..views.report import ReportView
from .base import Chart, chart, escaped
from .frontier import frontier_chart
from .private import PHASES, frontier_choices, waterfall_choices

_CATEGORIES: Chart = {"type": "category", "showgrid": False}
_DASHES = ("solid", "dash", "dot", "dashdot")


def compute_charts(view: ReportView) -> dict[str, Chart]:
    """Return every chart of the page, by the id of its place there; a chart without data is left out."""
    charts = {"frontier": frontier_chart(view.frontier, view.published)} if view.frontier.drawn else {}
    if view.criticality:
        charts["criticality"] = criticality_chart(view.criticality)
    charts["stages"] = stage_chart(view.distribution)
    charts["layers"] = layer_chart(view.distribution)
    if view.curves:
        charts["curves"] = curve_chart(view.curves)
    for name, choices in compute_choices(view).items():
        charts.setdefault(name, next(iter(choices.values())))
    return charts


def compute_choices(view: ReportView) -> dict[str, dict[str, Chart]]:
    """Return what the page's selects put in the place of a chart: by its id, then by the selects' values."""
    choices: dict[str, dict[str, Chart]] = {}
    if view.frontier.drawn and view.private.frontiers:
        relus = frontier_chart(view.frontier, view.published)
        choices["frontier"] = {"relus": relus} | frontier_choices(view.private)
    if view.private.waterfalls:
        choices |= {f"waterfall-{phase}": waterfall_choices(view.private, phase) for phase in PHASES}
    return choices


def criticality_chart(rows: Sequence[Criticality]) -> Chart:
    """C_k per stage as bars on the left, the two accuracies behind it as points on the right."""
    stages = [escaped(row.stage) for row in rows]
    criticality = {
        "type": "bar",
        "x": stages,
        "y": [row.criticality for row in rows],
        "marker": {"color": BLUE},
        "text": [decimal(row.criticality) for row in rows],
        "textposition": "outside",
        "cliponaxis": False,
        "hoverinfo": "x+y",
        "showlegend": False,
    }
    # Points, not bars: their axis may start near the values, where the differences can be seen.
    accuracies = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": stages,
            "y": values,
            "xaxis": "x2",
            "yaxis": "y2",
            "marker": {"color": color, "size": 12, "symbol": symbol, "line": {"width": 2, "color": color}},
            "hoverinfo": "x+y+name",
        }
        for name, values, color, symbol in (
            ("without KD", [row.accuracy_without_kd for row in rows], GREY, "circle-open"),
            ("with KD", [row.accuracy_with_kd for row in rows], GREEN, "circle"),
        )
    ]
    layout = {
        "xaxis": {"domain": [0, 0.4]} | _CATEGORIES,
        "xaxis2": {"domain": [0.6, 1], "anchor": "y2", "range": [-0.5, len(rows) - 0.5]} | _CATEGORIES,
        "yaxis": {"title": {"text": "Criticality C<sub>k</sub>"}},
        "yaxis2": {"title": {"text": "Accuracy (%)"}, "anchor": "x2"},
        "height": 320,
    }
    return chart([criticality, *accuracies], layout)


def stage_chart(view: DistributionView) -> Chart:
    """Per stage, the three shares side by side."""
    stages = [escaped(stage.cost.name) for stage in view.stages]
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": stages,
            "y": [_shares(stage)[i] for stage in view.stages],
            "marker": {"color": color},
            "hovertext": [_share_hover(stage) for stage in view.stages],
            "hoverinfo": "text",
        }
        for i, (name, color) in enumerate(QUANTITIES.items())
    ]
    layout = {"xaxis": _CATEGORIES, "yaxis": {"title": {"text": "% of the network"}}, "height": 320}
    return chart(traces, layout)


def layer_chart(view: DistributionView) -> Chart:
    """Per layer, one row of bars for each of the three, colored by stage (the paper's Figure 3)."""
    colors = stage_colors(view.stage_names)
    traces = [
        {
            "type": "bar",
            "name": escaped(stage),
            "legendgroup": escaped(stage),
            "showlegend": row == 0,
            "x": [escaped(layer.cost.name) for layer in view.layers if layer.cost.stage == stage],
            "y": [_shares(layer)[row] for layer in view.layers if layer.cost.stage == stage],
            "xaxis": "x",
            "yaxis": f"y{row + 1 if row else ''}",
            "marker": {"color": colors[stage]},
            "hovertext": [_share_hover(layer) for layer in view.layers if layer.cost.stage == stage],
            "hoverinfo": "text",
        }
        for row in range(len(QUANTITIES))
        for stage in view.stage_names
    ]
    layout = {
        # One trace per stage would otherwise order the layers by stage, not from input to output.
        "xaxis": {"categoryorder": "array", "categoryarray": [escaped(layer.cost.name) for layer in view.layers]}
        | _CATEGORIES
        | {"anchor": "y3", "tickangle": -60, "tickfont": {"size": 10}},
        "yaxis": {"domain": [0.72, 1], "title": {"text": "% of ReLUs"}},
        "yaxis2": {"domain": [0.36, 0.64], "title": {"text": "% of params"}},
        "yaxis3": {"domain": [0, 0.28], "title": {"text": "% of MACs"}},
        "barmode": "stack",
        "height": 520,
    }
    return chart(traces, layout)


def curve_chart(curves: Sequence[Curve]) -> Chart:
    """Validation accuracy by epoch; the frontier and the full network are shown, the rest wait in the legend."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",  # a search of one epoch has no lines
            "marker": {"size": 4},
            "name": escaped(curve.network.label),
            "x": list(curve.epochs),
            "y": list(curve.accuracies),
            "line": {"color": CYCLE[i % len(CYCLE)], "dash": _DASHES[i // len(CYCLE) % len(_DASHES)], "width": 1.8},
            "visible": True if curve.network.on_frontier or curve.network.role == "teacher" else "legendonly",
            "hovertext": [
                f"<b>{escaped(curve.network.label)}</b><br>epoch {epoch}: {percent(value)}"
                for epoch, value in zip(curve.epochs, curve.accuracies, strict=True)
            ],
            "hoverinfo": "text",
        }
        for i, curve in enumerate(sorted(curves, key=lambda c: (not c.network.on_frontier, -c.network.relus)))
    ]
    longest = max((epoch for curve in curves for epoch in curve.epochs), default=1)
    layout = {
        "xaxis": {"title": {"text": "Epoch"}, **({"dtick": 1} if longest <= 12 else {})},
        "yaxis": {"title": {"text": "Validation accuracy (%)"}},
        "hovermode": "closest",
        # A narrow page lists one name per line, and plotly gives a legend half of the height at most.
        "meta": {"wide_height": 400 + 6 * len(curves), "narrow_height": max(460, 40 * len(curves))},
    }
    return chart(traces, layout)


def _share_hover(s: StageShare) -> str:
    rows = zip(QUANTITIES, _shares(s), (s.cost.relus, s.cost.params, s.cost.macs), strict=True)
    lines = [f"{name}: {whole(count)} ({part:.1f} %)" for name, part, count in rows]
    return "<br>".join([f"<b>{escaped(s.cost.name)}</b>", *lines])


def _shares(s: StageShare) -> tuple[float, float, float]:
    return s.relu_share, s.param_share, s.mac_share
