"""Choice of the protocol for a connection: by what is prepared, else by the link, which is measured."""

from __future__ import annotations

from dataclasses import replace

from ...plan.cost.choice import Choice, Prefer, choose_protocol
from ...plan.execution.messages import PROTOCOLS, Protocol
from ..store import ClientStore
from ..transport.probe import measure_link
from .connection import Connection

NO_LINK_S, NO_LINK_RATE = 3e-4, 2.5e9  # a round trip within one machine, and bits per second


def prepared_protocol(store: ClientStore | None, connection: Connection) -> Protocol | None:
    """Return the protocol of which batches are in the store, if there are any."""
    if not connection.stored or store is None:
        return None
    counts = {name: store.count(replace(connection.purpose, protocol=name)) for name in PROTOCOLS}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else None


def measured_choice(connection: Connection, prefer: Prefer, batch: int) -> Choice:
    """Measure the link and return what the model of seconds prefers on it. Raises `SessionError`."""
    link = measure_link(connection.channel)
    near = link.round_trip < NO_LINK_S and link.rate > NO_LINK_RATE
    return choose_protocol(connection.plan, None if near else link, prefer, batch)
