"""Cost of one private prediction over a link in few numbers: what `export` and `inspect` show."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..execution.messages import Protocol
from ..schema import Plan
from .choice import AUTO, choose_protocol
from .latency import run_seconds
from .network_link import parse_link
from .traffic import predict


@dataclass(frozen=True, slots=True)
class RunCost:
    """Bytes of both directions, seconds, and rounds online, of one image; ``link`` as it was named."""

    protocol: Protocol
    link: str
    relus: int
    rescales: int
    rounds: int
    offline_bytes: int
    online_bytes: int
    offline_seconds: float
    online_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def run_cost(plan: Plan, link: str, protocol: str = AUTO) -> RunCost:
    """Return what one image costs over ``link`` (none, lan, wan or RATE,RTT); ``auto``: by the protocol of least time.

    Raises `SettingError` for an unknown link or protocol.
    """
    over = parse_link(link)
    taken: Any = choose_protocol(plan, over).protocol if protocol == AUTO else protocol
    prediction = predict(plan, taken)
    total, seconds = prediction.total, run_seconds(plan, taken, link=over, prediction=prediction)
    return RunCost(
        taken,
        link,
        total.relus,
        total.rescales,
        total.online.rounds,
        total.offline.up_bytes + total.offline.down_bytes,
        total.online.up_bytes + total.online.down_bytes,
        seconds.offline,
        seconds.online,
    )
