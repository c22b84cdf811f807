"""Linear segments merged where the private cost model says that it pays."""

from __future__ import annotations

from dataclasses import replace
from math import inf, prod

from ...lowering.ir import Lowered
from ...plan import LINK_RATE, PARAMETER_SETS, AvgPool, Conv, Linear
from ...plan.cost.latency import DEFAULT_MACHINE, Machine, linear_seconds, vector_seconds
from ...plan.execution.messages import DEFAULT, Chunk, Protocol, rescale_vector
from ...plan.execution.packing import choose, response_bytes, upload_bytes
from ...plan.validation import MAX_KERNEL, MAX_WEIGHTS, weight_shape
from .eliminate import merge
from .from_ops import graph_of
from .linear_graph import LinearLink, Shape, Value
from .to_ops import emit, op_of

ADDITION_S = 1e-9  # per element
TYPICAL_SHIFT = 12  # of a Rescale, before calibration knows it
TYPICAL_WIDTH = 16  # bits of an activation, with its margin


def merge_ops(
    lowered: Lowered, *, protocol: Protocol = DEFAULT, ring_bits: int = 32, link_rate: int = LINK_RATE
) -> Lowered:
    """Return the same function with fewer linear ops: chains, strided blocks, shortcuts and projections as one where it
    pays over a link of so many bits per second.

    ``lowered`` has no Rescales yet (`with_rescales` comes after). A merged op has the name of the last one in it.
    """
    return emit(merge(graph_of(lowered), PrivateCosts(protocol, ring_bits, link_rate)), lowered)


class PrivateCosts:
    """Seconds of both parties and of a link, offline and online, by the model of `deepreduce.plan.cost.latency`."""

    def __init__(
        self, protocol: Protocol, ring_bits: int, link_rate: int = LINK_RATE, machine: Machine = DEFAULT_MACHINE
    ) -> None:
        self.protocol, self.ring_bits, self.link_rate, self.machine = protocol, ring_bits, link_rate, machine
        self.parameters = next(p for p in PARAMETER_SETS.values() if ring_bits <= p.max_ring_bits)
        self.known: dict[tuple[Conv | Linear, Shape | tuple[int]], float] = {}

    def link(self, link: LinearLink, operand: Value, result: Value) -> float:
        """Return one convolution or linear layer; nothing for a pool, infinite for what no plan can hold."""
        op = op_of(link, operand, result)
        if isinstance(op, AvgPool):
            return 0.0
        shape = (prod(operand.shape),) if isinstance(op, Linear) else operand.shape
        weights = prod(weight_shape(op, shape))
        if weights > MAX_WEIGHTS or (not isinstance(op, Linear) and max(*op.kernel, *op.padding) > MAX_KERNEL):
            return inf
        key = replace(op, inputs=()), shape
        if key not in self.known:
            packing = choose(op, shape, self.parameters, self.ring_bits, self.link_rate)
            sent = packing.uploads * upload_bytes(self.parameters) + sum(response_bytes(packing, self.ring_bits))
            seconds = linear_seconds(packing, weights, self.parameters, self.machine).total
            self.known[key] = seconds + 8 * sent / self.link_rate
        return self.known[key]

    def addition(self, shape: Shape) -> float:
        """Return both parties add what they have."""
        return self.machine.linear_s + ADDITION_S * prod(shape)

    def rescale(self, shape: Shape) -> float:
        """Return the shifts, and the rounds that they take."""
        window = min(self.ring_bits, TYPICAL_SHIFT + TYPICAL_WIDTH)
        vector = rescale_vector(prod(shape), self.ring_bits, TYPICAL_SHIFT, window, self.protocol)
        sent = sum(map(_bytes, vector.chunks))
        return (
            vector_seconds(vector, self.machine).total
            + vector.rounds * self.machine.level_s
            + 8 * sent / self.link_rate
        )


def _bytes(chunk: Chunk) -> int:
    return chunk.choices + chunk.garbled + chunk.products + sum(map(sum, chunk.rounds))
