"""The report: reads a search folder, and writes the page, the picture and the table that people look at.

It reads files only, so it needs neither torch nor the code that searched: ``views`` compute, ``html``, ``charts``,
``figures`` and ``csv_table`` render.
"""

from __future__ import annotations

from pathlib import Path

from ..files import write_whole
from .csv_table import render_csv
from .figures.figures import distribution_figure, frontier_figure as _frontier_figure, frontier_picture
from .html import render_html
from .reading.search_folder import read_search
from .views.axis import find_axis
from .views.published import NOTHING, chosen
from .views.report import compute_view, shown_progress

__all__ = ["distribution_figure", "frontier_figure", "search_progress", "write_report"]


def write_report(directory: Path, x: str = "relus", key: str | None = None, published: bool = False) -> list[Path]:
    """Write ``report.html``, ``frontier.svg`` and ``frontier.csv`` into the search folder ``directory``.

    ``x`` is what the SVG is drawn against: relus, online, total or traffic; ``key`` the ``<protocol>@<network>`` that
    was measured (default: the first). Raises `SettingError` where it was not. With ``published`` the SVG shows what
    other papers report on the same data set, too; the page offers that by itself. All three are rendered before the
    first is written, so a failure leaves the folder as it was.
    """
    directory = Path(directory)
    view = compute_view(directory)
    others = chosen(view.published, view.search.data.name) if published else NOTHING
    contents = {
        "report.html": render_html(view),
        "frontier.svg": frontier_picture(view, "svg", find_axis(view.networks, x, key), others),
        "frontier.csv": render_csv(view),
    }
    return [write_whole(directory / name, content) for name, content in contents.items()]


def search_progress(directory: Path) -> str:
    """Return how much of the search in ``directory`` is done, in words; empty for a finished one."""
    return shown_progress(read_search(Path(directory)))


def frontier_figure(directory: Path, path: Path) -> Path:
    """Draw the frontier of the search in ``directory`` to ``path``, SVG or PNG by its suffix."""
    return _frontier_figure(compute_view(directory), path)
