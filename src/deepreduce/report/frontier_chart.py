"""The frontier as an interactive chart, against ReLUs or against what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from .axis import Axis
from .chart import Chart, chart, escaped
from .frontier_view import FrontierView, accuracy
from .numbers import megabytes, percent, seconds, short, whole
from .palette import BLUE, GREY, ORANGE
from .records import Network


def frontier_chart(frontier: FrontierView) -> Chart:
    """The axis (log) against validation accuracy; the frontier is a step, for between two networks lies no third."""
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
    ]
    # Plotly's own log axis would write bare 2 and 5 between the powers.
    ticks = {"tickvals": list(frontier.ticks), "ticktext": [frontier.axis.tick(value) for value in frontier.ticks]}
    layout = {
        "xaxis": {"type": "log", "title": {"text": escaped(frontier.axis.title)}} | ticks,
        "yaxis": {"title": {"text": "Validation accuracy (%)"}},
        "hovermode": "closest",
        "height": 480,
    }
    return chart([trace for trace in traces if trace["x"]], layout)


def _points(name: str, frontier: FrontierView, networks: Sequence[Network], marker: Chart) -> Chart:
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


def _hover(n: Network, axis: Axis) -> str:
    lines = [f"<b>{escaped(n.label)}</b>", f"{whole(n.relus)} ReLUs"]
    private = n.measured(axis.key)
    if private is not None:
        lines.append(f"online {seconds(private.online_s)}, predicted {seconds(private.predicted_online_s)}")
        lines.append(f"offline {seconds(private.offline_s)}, predicted {seconds(private.predicted_offline_s)}")
        online, offline = private.online_bytes / 1e6, private.offline_bytes / 1e6
        lines.append(f"{megabytes(online)} online, {megabytes(offline)} offline")
    lines.append(f"validation {percent(n.validation_accuracy)}, test {percent(n.test_accuracy)}")
    lines.append(f"{short(n.params)} parameters, {short(n.macs)} MACs")
    return "<br>".join(lines)
