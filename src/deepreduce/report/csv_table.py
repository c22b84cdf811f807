"""``frontier.csv``: every network in full precision, for a spreadsheet or a plotting script."""

from __future__ import annotations

import csv
import io

from .views.report import ReportView

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


#: For each ``<protocol>@<network>`` that was measured, such as ``online_s ot@lan``.
PRIVATE_COLUMNS = ("online_s", "offline_s", "online_bytes", "offline_bytes", "rounds")


def render_csv(view: ReportView) -> bytes:
    """Return the networks in the page's order: the frontier first, then the rest; what was not measured is an empty
    cell.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    keys = view.private.keys
    writer.writerow([*COLUMNS, *(f"{column} {key}" for key in keys for column in PRIVATE_COLUMNS)])
    for network in view.networks:
        cells = [_cell(getattr(network, column)) for column in COLUMNS]
        found = [network.measured(key) for key in keys]
        writer.writerow(cells + [getattr(p, column, None) for p in found for column in PRIVATE_COLUMNS])
    return text.getvalue().encode()


def _cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
