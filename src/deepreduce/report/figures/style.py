"""Style of the pictures: matplotlib when it is there, one style, no window system and no global state."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import MissingPackageError, SettingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: No date and a fixed salt for the ids: the same numbers give the same bytes.
STYLE = {
    "svg.hashsalt": "deepreduce",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "axes.edgecolor": "#8b929c",
}


def import_matplotlib() -> Any:
    """Return the package. Raises `MissingPackageError`."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingPackageError("figures need matplotlib", "pip install 'deepreduce[search]'") from error
    return matplotlib


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches; draw within ``import_matplotlib().rc_context(STYLE)``."""
    from matplotlib.figure import Figure

    # A bare Figure, no pyplot: no window system is asked for, and no global state is left behind.
    return Figure(figsize=(width, height), layout="constrained")


def saved(figure: Figure, kind: str) -> bytes:
    """Return the figure as ``svg`` or ``png``."""
    content = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    figure.savefig(content, format=kind, dpi=160, facecolor="white", metadata=metadata)
    return content.getvalue()


def kind_of(path: Path) -> str:
    """``svg`` or ``png``, by the suffix of ``path``. Raises `SettingError`."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("svg", "png"):
        raise SettingError(f"no figure can be written as {path.suffix or path.name!r}", "end its name in .svg or .png")
    return kind
