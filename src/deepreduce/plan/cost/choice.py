"""The protocol of least time on a link, by the model of `deepreduce.plan.cost.latency`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..execution.messages import PROTOCOLS, Protocol
from ..schema import Plan
from .latency import DEFAULT_MACHINE, Machine, Seconds, run_seconds
from .network_link import NetworkLink

Prefer: TypeAlias = Literal["total", "online"]
AUTO = "auto"  # what stands for the choice where a protocol is named


@dataclass(frozen=True, slots=True)
class Choice:
    """The ``protocol`` that was taken on ``link`` (None: loopback) by the seconds in all, or ``online``, of each."""

    protocol: Protocol
    prefer: Prefer
    link: NetworkLink | None
    seconds: dict[Protocol, Seconds]

    @property
    def reason(self) -> str:
        """Say what was taken, over what, and what the others would take."""
        where = "without a link" if self.link is None else f"over {self.link.shown()}"

        def expected(protocol: Protocol) -> str:
            seconds = self.seconds[protocol]
            return f"{seconds.online if self.prefer == 'online' else seconds.total:.2g} s"

        others = ", ".join(f"{name} {expected(name)}" for name in self.seconds if name != self.protocol)
        what = "online" if self.prefer == "online" else "in all"
        return f"{self.protocol}: {expected(self.protocol)} {what} expected {where} ({others})"


def choose_protocol(
    plan: Plan,
    link: NetworkLink | None,
    prefer: Prefer = "total",
    batch: int = 1,
    machine: Machine = DEFAULT_MACHINE,
) -> Choice:
    """Return the protocol that takes least for ``batch`` images, preparing included unless ``prefer`` is "online"."""
    seconds = {protocol: run_seconds(plan, protocol, batch, machine, link) for protocol in PROTOCOLS}
    best = min(seconds, key=lambda name: seconds[name].online if prefer == "online" else seconds[name].total)
    return Choice(best, prefer, link, seconds)
