"""Formatting of numbers, the same in the page, in pictures and in sentences (with units: `deepreduce.units`)."""

from __future__ import annotations

MISSING = "–"


def whole(value: int) -> str:
    """``49152`` as ``49,152``."""
    return f"{value:,}"


def short(value: float) -> str:
    """``49152`` as ``49.2K``; four characters of number at most."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        # 999,950 rounds to 1000.0K: the larger unit takes over where rounding would.
        if value >= size * 0.99995:
            return f"{value / size:.1f}{unit}"
    return f"{value:.0f}"


def tick(value: float) -> str:
    """``20000`` as ``20K``: round numbers need no decimal."""
    return short(value).replace(".0", "")


def clipped(text: str, most: int) -> str:
    """``text`` with an ellipsis where it is longer than ``most``: a picture has no line break to offer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def percent(value: float | None) -> str:
    """``96.84`` as ``96.84 %``; a dash where there is no value."""
    return MISSING if value is None else f"{value:.2f}\N{NO-BREAK SPACE}%"


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a plain number with ``digits`` decimals; a dash where there is no value."""
    return MISSING if value is None else f"{value:.{digits}f}"


def share(part: int, total: int) -> float:
    """``part`` of ``total`` in percent; nothing of nothing is 0."""
    return 100 * part / total if total else 0.0


def times_fewer(full: int, kept: int) -> str:
    """Return how many times ``kept`` goes into ``full``: ``6.3×``; a dash where ``kept`` is 0."""
    return f"{full / kept:.1f}×" if kept else MISSING


def change(points: float) -> str:
    """Return a difference in accuracy as a verb phrase: ``loses 0.40 points``."""
    if abs(points) < 0.005:
        return "loses nothing"
    return f"{'gains' if points > 0 else 'loses'} {abs(points):.2f} points"
