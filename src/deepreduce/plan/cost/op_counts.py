"""Work counted op by op: what `deepreduce.plan.cost.latency` multiplies with seconds per unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from ..execution.maxpool import pairs_per_level
from ..execution.messages import Protocol, Vector, relu_vector, rescale_vector
from ..execution.packing import Packing, cached_ops, packings
from ..schema import (
    INPUT,
    OUTPUT,
    PARAMETER_SETS,
    Add,
    AvgPool,
    Concat,
    Conv,
    Linear,
    MaxPool,
    Op,
    ParameterSet,
    Plan,
    Relu,
    Rescale,
    Traffic,
    kept_mask,
)
from ..shapes import Shape, shapes
from ..validation import rescale_window, weight_shape
from .traffic import Prediction

Counts = dict[str, float]
ENOUGH = 1 << 62  # bytes: all weights are kept


@dataclass(frozen=True, slots=True)
class Work:
    """Units of work by the name of the `deepreduce.plan.cost.latency.Machine` field that tells their seconds.

    ``offline_traffic`` and ``online_traffic`` pass the link.
    """

    offline: Counts = field(default_factory=dict)
    online: Counts = field(default_factory=dict)
    linear: bool = False
    offline_traffic: Traffic = field(default_factory=Traffic)
    online_traffic: Traffic = field(default_factory=Traffic)


def linear_work(packing: Packing, weights: int, parameters: ParameterSet, batch: int = 1, cached: bool = True) -> Work:
    """Return one Conv or Linear of so many ``weights``; ``cached``: transformed once, not for every preparation."""
    size = batch * parameters.poly_degree * parameters.primes / (4096 * 2)
    offline = {
        "linear_offline_s": 1.0,
        "product_s": size * packing.products,
        "transform_s": 0.0 if cached else size * packing.products,
        "upload_s": size * packing.uploads,
        "sum_s": size * packing.sums,
        "merge_s": size * packing.merges,
        "response_s": size * packing.responses,
    }
    multiply_adds = float(batch * weights * packing.out_h * packing.out_w)
    return Work(offline, {"linear_s": 1.0, "multiply_add_s": multiply_adds}, linear=True)


def vector_work(vector: Vector) -> Work:
    """Return one vector of comparisons or shifts."""
    sent = float(sum(exchange.down + exchange.up for chunk in vector.chunks for exchange in chunk.rounds))
    if vector.protocol == "delphi":
        gates = float(vector.elements * vector.gates)
        return Work({"circuit_offline_s": gates}, {"circuit_online_s": gates, "byte_online_s": sent})
    transfers, digits = (
        float(vector.elements * vector.transfers),
        float(vector.elements * len(vector.comparison.widths)),
    )
    return Work({"transfer_s": transfers}, {"digit_s": digits, "byte_online_s": sent})


def op_work(
    plan: Plan, protocol: Protocol, batch: int, prediction: Prediction, weight_bytes: int = ENOUGH
) -> dict[str, Work]:
    """Return the work of every op of a valid plan, and of the pseudo-ops "input" and "output", at a server that keeps
    ``weight_bytes`` of transformed weights.
    """
    found, packed, parameters = shapes(plan), packings(plan), PARAMETER_SETS[plan.parameter_set]
    # What a run takes beside the work of its ops stands under "input".
    local = batch * sum(prod(found[op.name]) for op in plan.ops if isinstance(op, Add | Concat | AvgPool))
    online: Counts = {"round_online_s": float(prediction.total.online.rounds), "local_online_s": float(local)}
    cached = cached_ops(packed, parameters, weight_bytes)
    work = {INPUT: _with_traffic(Work({"run_offline_s": 1.0}, online), prediction, INPUT)}
    for op in plan.ops:
        operand = found[op.inputs[0]]
        if isinstance(op, Conv | Linear):
            done = linear_work(packed[op.name], prod(weight_shape(op, operand)), parameters, batch, op.name in cached)
        else:
            done = _interactive(op, operand, plan.ring.ring_bits, protocol, batch)
        work[op.name] = _with_traffic(done, prediction, op.name)
    return work | {OUTPUT: _with_traffic(Work(), prediction, OUTPUT)}


def _with_traffic(work: Work, prediction: Prediction, name: str) -> Work:
    cost = prediction.ops[name]
    return Work(work.offline, work.online, work.linear, cost.offline, cost.online)


def _interactive(op: Op, operand: Shape, ring_bits: int, protocol: Protocol, batch: int) -> Work:
    """Return all vectors of an op, and a level for each exchange that it takes online."""
    levels = _levels(op, operand, ring_bits, protocol, batch)
    offline: Counts = {}
    online: Counts = (
        {"level_s": float(sum(max(vector.rounds for vector in level) for level in levels))} if levels else {}
    )
    for vector in (vector for level in levels for vector in level):
        done = vector_work(vector)
        for counts, more in ((offline, done.offline), (online, done.online)):
            for name, count in more.items():
                counts[name] = counts.get(name, 0.0) + count
    return Work(offline, online)


def _levels(op: Op, operand: Shape, ring_bits: int, protocol: Protocol, batch: int) -> list[list[Vector]]:
    """Return the vectors of each exchange of an op."""
    elements = prod(operand)
    match op:
        case Relu():
            kept = int(kept_mask(op, elements).sum())
            vectors = [relu_vector(batch * kept, ring_bits, op.shift, op.window, protocol)]
            if kept < elements and op.shift:
                vectors.append(rescale_vector(batch * (elements - kept), ring_bits, op.shift, op.window, protocol))
            return [vectors]
        case Rescale() if op.shift > 0:
            return [[rescale_vector(batch * elements, ring_bits, op.shift, rescale_window(op, ring_bits), protocol)]]
        case MaxPool():
            pairs = pairs_per_level(op, operand)
            return [[relu_vector(batch * count, ring_bits, 0, op.window, protocol)] for count in pairs]
        case _:
            return []
