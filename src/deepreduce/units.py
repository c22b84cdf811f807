"""Quantities with units, as people write and read them: seconds, bytes, rates and counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

COUNT: Final = {"": 1.0, "k": 1e3, "m": 1e6}
TIME: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZE: Final = {"": 1.0, "b": 1.0} | {
    f"{prefix}{end}": 10.0 ** (3 * power) if not binary else 2.0 ** (10 * power)
    for power, letter in enumerate("kmgt", 1)
    for binary, prefix in ((False, letter), (True, f"{letter}i"))
    for end in ("", "b")
}
RATE: Final = {  # bits per second
    f"{letter}{bit}{per}": 10.0 ** (3 * power)
    for power, letter in enumerate(("", "k", "m", "g"))
    for bit in ("bit", "b")
    for per in ("", "/s", "ps")
}

_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})\s*([a-zA-Z/]{0,8})")


class UnitError(ValueError):
    """An error for a quantity whose number can be read, but not its unit."""


def parse_quantity(text: str, units: Mapping[str, float]) -> float:
    """Return what ``text`` says, a number and one of ``units`` in any case: ``"1.5 MB"`` with `SIZE` is 1500000.

    Raises `UnitError` for another unit, `ValueError` for anything else that is not such a quantity.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r:.40} is not a number with a unit")
    if match[2].lower() not in units:
        known = ", ".join(unit for unit in units if unit)
        raise UnitError(f"{match[2] or 'no unit'!r} is not one of the units {known}")
    return float(match[1]) * units[match[2].lower()]


def parse_duration(text: str) -> float:
    """Return the seconds of one quantity of time, or of several in units ever smaller: ``90s``, ``1h30m``. Raises
    `ValueError`.
    """
    parts = re.findall(r"[0-9.]+[a-zA-Z]+", text)
    units = [TIME.get(part.lstrip("0123456789.").lower(), 0.0) for part in parts]
    if not parts or "".join(parts) != text.strip() or units != sorted(set(units), reverse=True):
        raise ValueError(f"{text!r:.40} is not a duration")
    return sum(parse_quantity(part, TIME) for part in parts)


def show_count(count: int, noun: str) -> str:
    """``1, "class"`` as ``1 class``, ``2000, "class"`` as ``2,000 classes``."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{ending}"


def show_seconds(value: float) -> str:
    """``0.0213`` as ``21.3 ms``: three digits."""
    if value >= 0.9995:
        return f"{value:.0f} s" if value >= 999.5 else f"{value:.3g} s"
    return f"{1e3 * value:.3g} ms" if value >= 0.9995e-3 else f"{1e6 * value:.3g} us"


def show_rate(value: float) -> str:
    """``98300000`` bits per second as ``98.3 Mb/s``: three digits."""
    for unit, size in (("Gb/s", 1e9), ("Mb/s", 1e6), ("kb/s", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:,.0f} {unit}" if value >= 99.95 * size else f"{value / size:.3g} {unit}"
    return f"{value:.0f} b/s"


def show_duration(seconds: float) -> str:
    """``4210`` as ``1 h 10 min``."""
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def show_bytes(value: float) -> str:
    """``12340000`` as ``12.3 MB``: three digits, decimal units."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:,.0f} {unit}" if value >= 99.95 * size else f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
