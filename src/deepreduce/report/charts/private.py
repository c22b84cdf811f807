"""The page's charts of what networks cost in private: frontiers against seconds, and a run's operations in order."""

from __future__ import annotations

from collections.abc import Sequence

from ...units import show_bytes, show_seconds
from ..formatting import whole
from ..palette import BLUE, GREY, ORANGE
from ..reading.runs import Operation, PhaseShare
from ..views.private import PrivateView, Waterfall
from .base import Chart, chart, escaped
from .frontier import frontier_chart

PHASES = ("online", "offline")
QUANTITIES = ("seconds", "megabytes")
_COLOURS = {"linear": BLUE, "non-linear": ORANGE, "other": GREY}
_PREDICTED = "#59626d"


def frontier_choices(view: PrivateView) -> dict[str, Chart]:
    """Return the frontier against everything but ReLUs, by ``quantity|key``."""
    return {f"{quantity}|{key}": frontier_chart(frontier) for (quantity, key), frontier in view.frontiers.items()}


def waterfall_choices(view: PrivateView, phase: str) -> dict[str, Chart]:
    """Return every run's waterfall of one phase, by ``job|key|quantity``."""
    return {
        f"{waterfall.network.job}|{waterfall.key}|{quantity}": waterfall_chart(waterfall, phase, quantity)
        for waterfall in view.waterfalls
        for quantity in QUANTITIES
    }


def waterfall_chart(waterfall: Waterfall, phase: str, quantity: str) -> Chart:
    """Bars from top to bottom in the order of computation, each beginning where the one before ends.

    The prediction is a thin bar upon the measured one, from the same beginning.
    """
    candidates = waterfall.run.timed(phase) if quantity == "seconds" else waterfall.run.operations
    operations = [
        op for op in candidates if _size(op.phase(phase), quantity) or _size(op.phase(phase), quantity, predicted=True)
    ]
    starts, end = [], 0.0
    for op in operations:
        starts.append(end)
        end += _size(op.phase(phase), quantity)
    # Numbered, for two ops of a hostile file might have one name; the names are the ticks.
    places = list(range(len(operations)))
    traces = [
        _bars(name, [p for p in places if operations[p].group == name], operations, starts, phase, quantity)
        for name in _COLOURS
    ]
    predicted = {
        "type": "bar",
        "orientation": "h",
        "name": "predicted",
        "y": places,
        "x": [_size(op.phase(phase), quantity, predicted=True) for op in operations],
        "base": starts,
        "width": 0.22,
        "marker": {"color": _PREDICTED, "line": {"color": "white", "width": 0.5}},
        "hoverinfo": "skip",
    }
    layout = {
        "barmode": "overlay",
        "xaxis": {
            "title": {"text": f"{phase.capitalize()} {quantity}"},
            "rangemode": "tozero",
        },
        "yaxis": {
            "tickvals": places,
            "ticktext": [escaped(op.name) for op in operations],
            "range": [len(operations) - 0.4, -0.6],
            "tickfont": {"size": 10},
            "showgrid": False,
            "zeroline": False,
        },
        "hovermode": "closest",
        "height": 150 + 17 * max(4, len(operations)),
    }
    return chart([trace for trace in (*traces, predicted) if trace["y"]], layout)


def _bars(
    name: str,
    places: Sequence[int],
    operations: Sequence[Operation],
    starts: Sequence[float],
    phase: str,
    quantity: str,
) -> Chart:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": list(places),
        "x": [_size(operations[p].phase(phase), quantity) for p in places],
        "base": [starts[p] for p in places],
        "width": 0.8,
        "marker": {"color": _COLOURS[name]},
        "hovertext": [_hover(operations[p], phase) for p in places],
        "hoverinfo": "text",
    }


def _size(share: PhaseShare, quantity: str, predicted: bool = False) -> float:
    if quantity == "seconds":
        return share.predicted_seconds if predicted else share.seconds
    return (share.predicted_bytes if predicted else share.bytes) / 1e6


def _hover(op: Operation, phase: str) -> str:
    share = op.phase(phase)
    lines = [f"<b>{escaped(op.name)}</b>" + (f" ({escaped(op.kind)})" if op.kind else "")]
    if op.relus:
        lines.append(f"{whole(op.relus)} ReLUs")
    lines.append(f"{show_seconds(share.seconds)}, predicted {show_seconds(share.predicted_seconds)}")
    lines.append(f"{show_bytes(share.down_bytes)} down, {show_bytes(share.up_bytes)} up")
    return "<br>".join(lines)
