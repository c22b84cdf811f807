"""A connection between the parties, as far as predictions and shaped measurements need it: a rate and a delay."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import SettingError

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:bit|b)(?:/s|ps)?", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)", re.IGNORECASE)
_RATE_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_TIME_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class NetworkLink:
    """``rate`` in bits per second each way, ``round_trip`` in seconds."""

    rate: float
    round_trip: float


LINKS = {"none": None, "lan": NetworkLink(1e9, 0.001), "wan": NetworkLink(1e8, 0.040)}


def parse_link(text: str) -> NetworkLink | None:
    """``none``, ``lan``, ``wan`` or ``RATE,RTT`` such as ``200Mbit,20ms``. Raises `SettingError`."""
    name = text.strip().lower()
    if name in LINKS:
        return LINKS[name]
    known = "write none, lan, wan or RATE,RTT such as 200Mbit,20ms"
    parts = text.split(",")
    if len(parts) != 2:
        raise SettingError(f"network {text!r} is not known", known)
    rate_match, time_match = _RATE.fullmatch(parts[0].strip()), _TIME.fullmatch(parts[1].strip())
    if rate_match is None:
        raise SettingError(f"the rate {parts[0].strip()!r} of network {text!r} cannot be read", known)
    if time_match is None:
        raise SettingError(f"the round-trip time {parts[1].strip()!r} of network {text!r} cannot be read", known)
    rate = float(rate_match[1]) * _RATE_UNITS[rate_match[2].lower()]
    round_trip = float(time_match[1]) * _TIME_UNITS[time_match[2].lower()]
    if not 1e4 <= rate <= 1e11:
        raise SettingError(f"a rate of {rate:g} bit/s, from 10 kbit to 100 Gbit is allowed", known)
    if round_trip > 10:
        raise SettingError(f"a round trip of {round_trip:g} s, at most 10 s is allowed", known)
    return NetworkLink(rate, round_trip)
