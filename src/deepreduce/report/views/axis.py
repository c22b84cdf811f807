"""Axis that the frontier is drawn against: ReLUs, or what was measured in private, over one network by one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import SettingError, nearest
from ...units import show_bytes, show_seconds
from ..formatting import tick
from ..reading.records import Private, ReportedNetwork

#: The measured quantities by name, with the title of their axis.
MEASURED = {"online": "Online seconds", "total": "Online and offline seconds", "traffic": "Megabytes, both phases"}


@dataclass(frozen=True)
class Axis:
    """``quantity`` is relus, online, total or traffic; ``key`` is ``<protocol>@<network>``, empty for ReLUs."""

    quantity: str
    key: str = ""

    @property
    def title(self) -> str:
        """The axis's title; the key stands there as it is, so it may need escaping."""
        if not self.key:
            return "ReLUs per image (log scale)"
        return f"{MEASURED[self.quantity]}, {self.key} (log scale)"

    def value(self, network: ReportedNetwork) -> float | None:
        """ReLUs, seconds or megabytes; None where the network was not measured so."""
        if not self.key:
            return network.relus
        found = network.measured(self.key)
        return None if found is None else measured(found, self.quantity)

    def tick(self, value: float) -> str:
        """Return a round value beside the axis."""
        if not self.key:
            return tick(value)
        return show_bytes(1e6 * value) if self.quantity == "traffic" else show_seconds(value)


RELUS = Axis("relus")


def measured(private: Private, quantity: str) -> float:
    """Seconds, or megabytes."""
    match quantity:
        case "online":
            return private.online_s
        case "total":
            return private.online_s + private.offline_s
        case _:
            return (private.online_bytes + private.offline_bytes) / 1e6


def keys(networks: Sequence[ReportedNetwork]) -> tuple[str, ...]:
    """Return every ``<protocol>@<network>`` that some network was measured with, as the file has them."""
    return tuple(dict.fromkeys(private.key for network in networks for private in network.private))


def find_axis(networks: Sequence[ReportedNetwork], quantity: str, key: str | None = None) -> Axis:
    """Return the axis of that name; ``key`` defaults to the first that was measured. Raises `SettingError`."""
    if quantity == "relus":
        return RELUS
    if quantity not in MEASURED:
        raise SettingError(f"unknown axis {quantity!r}", nearest(quantity, ("relus", *MEASURED)))
    known = keys(networks)
    if not known:
        raise SettingError("nothing is measured in private yet", "deepreduce bench DIR")
    if key is not None and key not in known:
        raise SettingError(f"nothing is measured with {key!r}", nearest(key, known))
    return Axis(quantity, key or known[0])
