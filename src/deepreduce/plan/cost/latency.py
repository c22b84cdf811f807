"""Seconds predicted for a plan: what decides merging, picks a point under a budget, and stands beside the measurement.

A model of few terms, fitted by ``bench/service/timing.py`` to runs of both parties on two cores: work counted by
`deepreduce.plan.cost.op_counts` times seconds per unit, plus what a link adds. Constants are LOCAL: they decide what is
chosen, never what is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..execution.messages import DEFAULT, Protocol, Vector
from ..execution.packing import Packing
from ..schema import INPUT, ParameterSet, Plan, Traffic
from .network_link import NetworkLink
from .op_counts import ENOUGH, Counts, Work, linear_work, op_work, vector_work
from .traffic import Prediction, predict


@dataclass(frozen=True, slots=True)
class Machine:
    """Seconds per unit of work, both parties together where they cannot overlap; one core each."""

    run_offline_s: float = 6.3e-3  # whatever the plan
    round_online_s: float = 4.8e-5  # any round, beside the work of its ops
    local_online_s: float = 2.4e-8  # element of a sum, computed from shares alone
    linear_offline_s: float = 6.5e-4  # any linear op
    product_s: float = 7.4e-6  # homomorphic, of polynomials of 4096 coefficients modulo two primes
    transform_s: float = 2.0e-5  # product whose weights are not kept transformed
    upload_s: float = 7.8e-5  # ciphertext from the client
    sum_s: float = 4.3e-5  # products of an output block, re-randomized
    merge_s: float = 5.0e-5  # of two of those
    response_s: float = 8.0e-5  # ciphertext from the server
    transfer_s: float = 1.75e-8  # transfer of ot: extended, hashed, sent and stored
    digit_s: float = 1.8e-8  # digit of an element compared by ot
    circuit_offline_s: float = 6.1e-8  # AND gate of delphi garbled, sent and stored
    circuit_online_s: float = 5.8e-9  # AND gate evaluated
    byte_online_s: float = 3.5e-10  # through loopback
    multiply_add_s: float = 2.0e-11  # of the online linear ops
    linear_s: float = 2.5e-5  # any linear op online
    level_s: float = 3.3e-4  # any exchange of an op online
    link_linear_s: float = 5.7e-4  # any linear op offline over a link: requests and answers alternate
    link_level_s: float = 7.5e-4  # any round over a link, beside its round trip
    link_rest: float = 1.2e-1  # share of computing and transfers that the longest of them does not cover


@dataclass(frozen=True, slots=True)
class Seconds:
    """Predicted seconds of one op or of a whole run."""

    offline: float = 0.0
    online: float = 0.0

    @property
    def total(self) -> float:
        """Both phases."""
        return self.offline + self.online

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.offline + other.offline, self.online + other.online)


DEFAULT_MACHINE = Machine()


def linear_seconds(
    packing: Packing, weights: int, parameters: ParameterSet, machine: Machine = DEFAULT_MACHINE, batch: int = 1
) -> Seconds:
    """Return one Conv or Linear of so many ``weights``, without link."""
    return _computing(linear_work(packing, weights, parameters, batch), machine)


def vector_seconds(vector: Vector, machine: Machine = DEFAULT_MACHINE) -> Seconds:
    """Return one vector of comparisons or shifts, without link and rounds."""
    return _computing(vector_work(vector), machine)


def op_seconds(
    plan: Plan,
    protocol: Protocol = DEFAULT,
    batch: int = 1,
    machine: Machine = DEFAULT_MACHINE,
    link: NetworkLink | None = None,
    prediction: Prediction | None = None,
    weight_bytes: int = ENOUGH,
) -> dict[str, Seconds]:
    """Return every op's seconds over ``link`` (None: loopback), and under "input" and "output" what belongs to no op.

    ``weight_bytes``: what the server keeps of transformed weights.

    Their sum is the run's. Over a link ops overlap offline: each has its part of what they take together.
    """
    prediction = prediction or predict(plan, protocol, batch)
    work = op_work(plan, protocol, batch, prediction, weight_bytes)
    seconds = {name: _computing(done, machine) for name, done in work.items()}
    if link is None:
        return seconds
    online = {
        name: _longest((seconds[name].online, _wire_s(done.online_traffic, link)), machine)
        for name, done in work.items()
    }
    delay = prediction.total.online.rounds * (link.round_trip + machine.link_level_s)
    rounds = sum(done.online_traffic.rounds for done in work.values())
    offline: dict[str, float] = {}
    for linear in (True, False):
        part = {name: done for name, done in work.items() if done.linear == linear}
        offline |= _overlapping({name: seconds[name].offline for name in part}, part, machine, link)
    offline[INPUT] += prediction.total.offline.rounds * link.round_trip
    return {
        # Ops that share a round share its delay.
        name: Seconds(offline[name], online[name] + delay * work[name].online_traffic.rounds / rounds)
        for name in work
    }


def run_seconds(
    plan: Plan,
    protocol: Protocol = DEFAULT,
    batch: int = 1,
    machine: Machine = DEFAULT_MACHINE,
    link: NetworkLink | None = None,
    prediction: Prediction | None = None,
    weight_bytes: int = ENOUGH,
) -> Seconds:
    """Return a whole inference over ``link`` (None: loopback)."""
    return sum(op_seconds(plan, protocol, batch, machine, link, prediction, weight_bytes).values(), Seconds())


def _computing(work: Work, machine: Machine) -> Seconds:
    def total(counts: Counts) -> float:
        return sum((getattr(machine, name) * count for name, count in counts.items()), 0.0)

    return Seconds(total(work.offline), total(work.online))


def _overlapping(
    computing: Mapping[str, float], work: Mapping[str, Work], machine: Machine, link: NetworkLink
) -> dict[str, float]:
    """Return the offline seconds of ops that follow each other without waiting: computing, sending and receiving
    overlap.

    The longest of the three counts, and a little of the others; each op gets its part.
    """

    def together(seconds: float, down: float, up: float, ops: int) -> float:
        parts = (seconds, 8 * down / link.rate, 8 * up / link.rate)
        return _longest(parts, machine) + ops * machine.link_linear_s

    alone = {
        name: together(computing[name], done.offline_traffic.down_bytes, done.offline_traffic.up_bytes, done.linear)
        for name, done in work.items()
    }
    whole = together(
        sum(computing.values()),
        sum(done.offline_traffic.down_bytes for done in work.values()),
        sum(done.offline_traffic.up_bytes for done in work.values()),
        sum(done.linear for done in work.values()),
    )
    scale = whole / (sum(alone.values()) or 1.0)
    return {name: scale * seconds for name, seconds in alone.items()}


def _longest(parts: tuple[float, ...], machine: Machine) -> float:
    """Return what overlaps: the longest part, and a little of the others."""
    longest = max(parts)
    return longest + machine.link_rest * (sum(parts) - longest)


def _wire_s(traffic: Traffic, link: NetworkLink) -> float:
    """Online one party waits for the other: both directions follow each other."""
    return 8 * (traffic.up_bytes + traffic.down_bytes) / link.rate
