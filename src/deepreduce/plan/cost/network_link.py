"""A connection between the parties, as far as predictions and shaped measurements need it: a rate and a delay."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import SettingError
from ...units import RATE, TIME, parse_quantity, show_rate, show_seconds
from ..schema import Plan
from ..validation import LINK_RATES


@dataclass(frozen=True, slots=True)
class NetworkLink:
    """``rate`` in bits per second each way, ``round_trip`` in seconds."""

    rate: float
    round_trip: float

    def shown(self) -> str:
        """Return rate and round trip for people."""
        return f"{show_rate(self.rate)} and {show_seconds(self.round_trip)}"


LOOPBACK_RATE = 10**10
LINKS = {"none": None, "lan": NetworkLink(1e9, 0.001), "wan": NetworkLink(1e8, 0.040)}


def layout_rate(link: NetworkLink | None) -> int:
    """Return the bits per second that a plan's ciphertexts are laid out for (`Plan.link_rate`) on this link; those of
    loopback where there is none.
    """
    low, high = LINK_RATES
    return LOOPBACK_RATE if link is None else min(max(round(link.rate), low), high)


def for_link(plan: Plan, link: NetworkLink | None) -> Plan:
    """Return the plan with its ciphertexts laid out for ``link``; as it is where there is none."""
    return plan if link is None else replace(plan, link_rate=layout_rate(link))


def parse_link(text: str) -> NetworkLink | None:
    """``none``, ``lan``, ``wan`` or ``RATE,RTT`` such as ``200Mbit,20ms``. Raises `SettingError`."""
    name = text.strip().lower()
    if name in LINKS:
        return LINKS[name]
    known = "write none, lan, wan or RATE,RTT such as 200Mbit,20ms"
    parts = text.split(",")
    if len(parts) != 2:
        raise SettingError(f"network {text!r} is not known", known)
    try:
        rate = parse_quantity(parts[0], RATE)
    except ValueError:
        raise SettingError(f"the rate {parts[0].strip()!r} of network {text!r} cannot be read", known) from None
    try:
        round_trip = parse_quantity(parts[1], TIME)
    except ValueError:
        raise SettingError(
            f"the round-trip time {parts[1].strip()!r} of network {text!r} cannot be read", known
        ) from None
    if not 1e4 <= rate <= 1e11:
        raise SettingError(f"a rate of {rate:g} bit/s, from 10 kbit to 100 Gbit is allowed", known)
    if round_trip > 10:
        raise SettingError(f"a round trip of {round_trip:g} s, at most 10 s is allowed", known)
    return NetworkLink(rate, round_trip)
