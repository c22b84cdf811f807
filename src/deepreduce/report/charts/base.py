"""Base of the page's plotly charts: the common layout, and text that stays text."""

from __future__ import annotations

import html
from typing import Any

from ...errors import MissingPackageError

Chart = dict[str, Any]


def escaped(value: str) -> str:
    """``value`` as plotly shows it literally; quotes stay, for plotly does not know their entities."""
    return html.escape(value, quote=False)


def chart(traces: list[Chart], layout: Chart) -> Chart:
    """Traces and layout checked by plotly against its schema, as plain data."""
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise MissingPackageError("the report needs plotly", "pip install 'deepreduce[search]'") from error
    common = {"template": "none", "margin": {"l": 64, "r": 16, "t": 40, "b": 56}, "bargap": 0.25}
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    made: Chart = go.Figure(data=traces, layout=common | {"legend": legend} | layout).to_plotly_json()
    return made
