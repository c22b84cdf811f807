"""Seconds predicted for a plan: what decides merging, picks a point under a budget, and stands beside the measurement.

A model of few terms, fitted to runs of both parties on one two-core machine over loopback: work counted by
`deepreduce.plan.cost` times seconds per unit, plus what a link adds. Constants are LOCAL: they decide what is chosen,
never what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from .cost import Prediction, predict
from .infer import Shape, shapes
from .link import Link
from .messages import Protocol, Vector, relu_vector, rescale_vector
from .packing import Packing, packings
from .pooling import pairs_per_level
from .rules import weight_shape
from .schema import PARAMETER_SETS, Conv, Linear, MaxPool, Op, ParameterSet, Plan, Relu, Rescale, Traffic, kept_mask


@dataclass(frozen=True, slots=True)
class Machine:
    """Seconds per unit of work, both parties together where they cannot overlap; one core each."""

    product_s: float = 4.6e-6  # homomorphic, of polynomials of 4096 coefficients modulo two primes
    upload_s: float = 3.1e-5  # ciphertext from the client
    response_s: float = 2.2e-4  # ciphertext from the server
    gate_offline_s: float = 5.4e-8  # AND gate garbled, sent and stored
    gate_online_s: float = 1.0e-8  # AND gate evaluated
    shift_offline_s: float = 2.3e-8  # element of a one-OT rescale
    shift_online_s: float = 1.5e-8
    multiply_add_s: float = 2.0e-11  # of the online linear ops
    linear_s: float = 8.0e-5  # any linear op online
    level_s: float = 3.0e-4  # any round online


@dataclass(frozen=True, slots=True)
class Seconds:
    """Of one op or of a run."""

    offline: float = 0.0
    online: float = 0.0

    @property
    def total(self) -> float:
        """Both phases."""
        return self.offline + self.online

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.offline + other.offline, self.online + other.online)


DEFAULT = Machine()
HIDDEN = 0.75  # share of the shorter of computing, sending and receiving that the longest covers, offline


def linear_seconds(
    packing: Packing, weights: int, parameters: ParameterSet, machine: Machine = DEFAULT, batch: int = 1
) -> Seconds:
    """One Conv or Linear of so many ``weights``."""
    size = parameters.poly_degree * parameters.primes / (4096 * 2)
    work = packing.products * machine.product_s + packing.uploads * machine.upload_s
    offline = batch * size * (work + packing.responses * machine.response_s)
    multiply_adds = batch * weights * packing.out_h * packing.out_w
    return Seconds(offline, machine.linear_s + multiply_adds * machine.multiply_add_s)


def vector_seconds(vector: Vector, machine: Machine = DEFAULT) -> Seconds:
    """One vector of comparisons or shifts."""
    if not vector.gates:
        return Seconds(vector.elements * machine.shift_offline_s, vector.elements * machine.shift_online_s)
    gates = vector.elements * vector.gates
    return Seconds(gates * machine.gate_offline_s, gates * machine.gate_online_s)


def op_seconds(
    plan: Plan, protocol: Protocol = "fused", batch: int = 1, machine: Machine = DEFAULT
) -> dict[str, Seconds]:
    """The computing of every op, without links and rounds."""
    found, packed, parameters = shapes(plan), packings(plan), PARAMETER_SETS[plan.parameter_set]
    seconds: dict[str, Seconds] = {}
    for op in plan.ops:
        operand = found[op.inputs[0]]
        if isinstance(op, Conv | Linear):
            weights = prod(weight_shape(op, operand))
            seconds[op.name] = linear_seconds(packed[op.name], weights, parameters, machine, batch)
        else:
            vectors = _vectors(op, operand, plan.ring.ring_bits, protocol, batch)
            seconds[op.name] = sum((vector_seconds(v, machine) for v in vectors), Seconds())
    return seconds


def run_seconds(
    plan: Plan,
    protocol: Protocol = "fused",
    batch: int = 1,
    machine: Machine = DEFAULT,
    link: Link | None = None,
    prediction: Prediction | None = None,
) -> Seconds:
    """A whole inference over ``link`` (None: loopback)."""
    cost = (prediction or predict(plan, protocol, batch)).total
    computing = sum(op_seconds(plan, protocol, batch, machine).values(), Seconds())
    online = computing.online + cost.online.rounds * machine.level_s
    offline = computing.offline
    if link is not None:
        # Online nothing overlaps; offline computing and both directions do, for the most part.
        online += _wire_s(cost.online, link) + cost.online.rounds * link.round_trip
        parts = (offline, 8 * cost.offline.down_bytes / link.rate, 8 * cost.offline.up_bytes / link.rate)
        offline = max(parts) + (1 - HIDDEN) * (sum(parts) - max(parts)) + cost.offline.rounds * link.round_trip
    return Seconds(offline, online)


def _wire_s(traffic: Traffic, link: Link) -> float:
    return 8 * (traffic.up_bytes + traffic.down_bytes) / link.rate


def _vectors(op: Op, operand: Shape, ring_bits: int, protocol: Protocol, batch: int) -> list[Vector]:
    elements = prod(operand)
    match op:
        case Relu():
            kept = int(kept_mask(op, elements).sum())
            vectors = [relu_vector(batch * kept, ring_bits, op.shift, op.window, protocol)]
            if kept < elements and op.shift:
                vectors.append(rescale_vector(batch * (elements - kept), ring_bits, op.shift, protocol))
            return vectors
        case Rescale() if op.shift > 0:
            return [rescale_vector(batch * elements, ring_bits, op.shift, protocol)]
        case MaxPool():
            pairs = pairs_per_level(op, operand)
            return [relu_vector(batch * count, ring_bits, 0, op.window, protocol) for count in pairs]
        case _:
            return []
