"""The frontier as an interactive chart, against ReLUs or against what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from ...units import show_bytes, show_seconds
from ..formatting import percent, short, whole
from ..palette import BLUE, GREY, ORANGE
from ..published import PublishedMethod, PublishedPoint
from ..reading.records import ReportedNetwork
from ..views.axis import Axis
from ..views.frontier import FrontierView, accuracy
from ..views.published import NOTHING, PublishedView, counted, style
from .base import Chart, chart, escaped


def frontier_chart(frontier: FrontierView, published: PublishedView = NOTHING) -> Chart:
    """Return the axis (log) against validation accuracy; the frontier is a step, for between two networks lies no
    third.

    ``published`` networks have a place where the axis is ReLUs; beside a reduced search they wait to be switched on.
    """
    names = [escaped(n.label) if n.job in frontier.named else "" for n in frontier.frontier]
    traces = [
        _points("dominated", frontier, frontier.dominated, {"color": GREY, "size": 8}),
        _points(
            "profiling run",
            frontier,
            frontier.profiled,
            {"color": GREY, "size": 9, "symbol": "circle-open", "line": {"width": 1.5}},
        ),
        _points("Pareto frontier", frontier, frontier.frontier, {"color": BLUE, "size": 10})
        | {
            "mode": "lines+markers+text",
            "line": {"color": BLUE, "width": 2, "shape": "hv"},
            "text": names,
            "textposition": [frontier.named.get(n.job, "top left") for n in frontier.frontier],
            "textfont": {"size": 11},
            "cliponaxis": False,
        },
        _points(
            "full network",
            frontier,
            (frontier.teacher,) if frontier.teacher else (),
            {"color": ORANGE, "size": 13, "symbol": "diamond", "line": {"color": "white", "width": 1}},
        ),
        *(_published(published, method) for method in published.methods),
    ]
    # Plotly's own log axis would write bare 2 and 5 between the powers.
    values = frontier.ticks_with(x for x, _ in published.places)
    ticks = {"tickvals": list(values), "ticktext": [frontier.axis.tick(value) for value in values]}
    layout = {
        "xaxis": {"type": "log", "title": {"text": escaped(frontier.axis.title)}} | ticks,
        "yaxis": {"title": {"text": "Validation accuracy (%)"}},
        "hovermode": "closest",
        "height": 480,
    }
    if published.methods:  # a legend of many names, which a narrow page lists one per line
        layout["meta"] = {"wide_height": 540, "narrow_height": 520 + 24 * len(published.methods)}
    return chart([trace for trace in traces if trace["x"]], layout)


def _points(name: str, frontier: FrontierView, networks: Sequence[ReportedNetwork], marker: Chart) -> Chart:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [frontier.x(n) for n in networks],
        "y": [accuracy(n) for n in networks],
        "marker": marker,
        "hovertext": [_hover(n, frontier.axis) for n in networks],
        "hoverinfo": "text",
    }


def _published(view: PublishedView, method: PublishedMethod) -> Chart:
    color, symbol, _ = style(method)
    places = [point.place for point in method.points]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escaped(view.label(method)),
        "meta": {"published": method.name},
        "visible": not view.reduced,
        "x": places,
        "y": [point.accuracy for point in method.points],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [point.relus[1] - x for point, x in zip(method.points, places, strict=True)],
            "arrayminus": [x - point.relus[0] for point, x in zip(method.points, places, strict=True)],
            "thickness": 1,
            "width": 0,
            "color": color,
        },
        "marker": {"color": color, "size": 10, "symbol": symbol, "line": {"width": 1.6}},
        "hovertext": [_published_hover(method, point) for point in method.points],
        "hoverinfo": "text",
    }


def _published_hover(method: PublishedMethod, point: PublishedPoint) -> str:
    lines = [f"<b>{escaped(method.name)}</b> as published, {escaped(method.venue)}", escaped(point.network)]
    lines.append(f"{counted(point)} ReLUs, test {percent(point.accuracy)}")
    lines += [f"from: {escaped(point.source)}", f"epoch picked on test images: {method.picked}"]
    return "<br>".join(lines)


def _hover(n: ReportedNetwork, axis: Axis) -> str:
    lines = [f"<b>{escaped(n.label)}</b>", f"{whole(n.relus)} ReLUs"]
    private = n.measured(axis.key)
    if private is not None:
        for phase in ("online", "offline"):
            measured, predicted = getattr(private, f"{phase}_s"), getattr(private, f"predicted_{phase}_s")
            lines.append(f"{phase} {show_seconds(measured)}, predicted {show_seconds(predicted)}")
        lines.append(f"{show_bytes(private.online_bytes)} online, {show_bytes(private.offline_bytes)} offline")
    lines.append(f"validation {percent(n.validation_accuracy)}, test {percent(n.test_accuracy)}")
    lines.append(f"{short(n.params)} parameters, {short(n.macs)} MACs")
    return "<br>".join(lines)
