"""Private inference cost of the networks: the frontier against seconds and megabytes, run by run, and in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import StoreError
from ..reading.records import Private, ReportedNetwork
from ..reading.runs import ReportedRun, read_run
from .axis import MEASURED, Axis, keys
from .frontier import FrontierView, compute_frontier


@dataclass(frozen=True)
class Waterfall:
    """One run, op by op."""

    network: ReportedNetwork
    key: str
    run: ReportedRun


@dataclass(frozen=True)
class ProfileRow:
    """A network by one protocol: what does not depend on the connection, and a cell for each of ``connections``."""

    network: ReportedNetwork
    protocol: str
    any: Private
    cells: tuple[Private | None, ...]


@dataclass(frozen=True)
class PrivateView:
    """``frontiers`` by (quantity, key) of their axis; all empty where nothing was measured."""

    keys: tuple[str, ...]
    frontiers: Mapping[tuple[str, str], FrontierView]
    waterfalls: tuple[Waterfall, ...]
    connections: tuple[str, ...]
    profiles: tuple[ProfileRow, ...]

    @property
    def measured(self) -> tuple[ReportedNetwork, ...]:
        """The networks that have a run to show, in the table's order."""
        return tuple({waterfall.network.job: waterfall.network for waterfall in self.waterfalls}.values())


def compute_private(directory: Path, networks: Sequence[ReportedNetwork]) -> tuple[PrivateView, tuple[str, ...]]:
    """Return the view, and the labels of runs that cannot be read: one picture less does not fail the page."""
    ordered = sorted(networks, key=lambda n: (not n.on_frontier, -n.relus, n.label))
    known = keys(networks)
    frontiers = {
        (quantity, key): compute_frontier(networks, Axis(quantity, key)) for key in known for quantity in MEASURED
    }
    waterfalls, unread = [], []
    for network in ordered:
        for private in network.private:
            try:
                waterfalls.append(Waterfall(network, private.key, read_run(directory, private.run)))
            except (StoreError, OSError):
                unread.append(f"{network.label}, {private.key}")
    connections = tuple(dict.fromkeys(key.partition("@")[2] for key in known))
    rows = [row for network in ordered for row in _rows(network, connections)]
    drawn = {axis: view for axis, view in frontiers.items() if view.drawn}
    return PrivateView(known, drawn, tuple(waterfalls), connections, tuple(rows)), tuple(unread)


def _rows(network: ReportedNetwork, connections: Sequence[str]) -> list[ProfileRow]:
    """Return one for each protocol that the network was measured with."""
    protocols = dict.fromkeys(private.protocol for private in network.private)
    return [
        ProfileRow(
            network,
            protocol,
            next(private for private in network.private if private.protocol == protocol),
            tuple(network.measured(f"{protocol}@{connection}") for connection in connections),
        )
        for protocol in protocols
    ]
