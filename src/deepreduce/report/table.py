"""``frontier.csv``: every network in full precision, for a spreadsheet or a plotting script."""

from __future__ import annotations

import csv
import io

from .view import ReportView

COLUMNS = (
    "name",
    "role",
    "step",
    "kd",
    "relus",
    "params",
    "macs",
    "validation_accuracy",
    "test_accuracy",
    "on_frontier",
    "epochs",
    "seconds",
    "job",
)


def render_csv(view: ReportView) -> bytes:
    """The networks in the page's order: the frontier first, then the rest; a missing accuracy is an empty cell."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for network in view.networks:
        writer.writerow([_cell(getattr(network, column)) for column in COLUMNS])
    return text.getvalue().encode()


def _cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
