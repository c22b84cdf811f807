"""What a private run will cost, message by message, before it runs. A session must send exactly these bytes.

Bytes include the header of every frame. The formulas follow docs/protocol.md: l is the ring's width, n = window - shift
the bits that a comparison sees, p the elements of a chunk rounded up to whole groups of instances.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Literal, TypeAlias

from ..errors import PlanError
from .infer import Shape, shapes
from .packing import Packing, bits_to_bytes, packings, response_bytes, upload_bytes
from .pooling import pairs_per_level
from .schedule import offline_waves, online_levels
from .schema import (
    INPUT,
    OUTPUT,
    PARAMETER_SETS,
    Cost,
    MaxPool,
    Op,
    ParameterSet,
    Plan,
    Relu,
    Rescale,
    Traffic,
    kept_mask,
    total,
)

Protocol: TypeAlias = Literal["fused", "delphi"]

# AGREEMENT: both parties cut their messages alike.
FRAME_HEADER = 8
GROUP = 16  # instances garbled in lockstep; a chunk is padded to whole groups
RELU_CHUNK = 2048  # elements per frame
RESCALE_CHUNK = 32768
HE_FRAME = 8  # ciphertexts per frame
OT_BLOCK = 128  # transfers that one step of the extension makes
# Sizes in bytes.
LABEL = 16
AND_GATE = 2 * LABEL  # half gates
OT_BYTES = 4  # per transfer, from the receiver of the extension (SoftSpoken, k = 4)
HASH_KEY = 16  # public, with the first frame of garbled material of every vector
CLAIM = 48  # batch id and transcript digest
WORD = 8  # a ring element at rest
POINT = 32
BASE_OTS = 128


@dataclass(frozen=True, slots=True)
class Prediction:
    """``ops`` holds every op of the plan and the pseudo-ops "input" and "output".

    The rounds of an op are what it takes alone; ``total`` has those of the run, in which ops share rounds. ``setup`` is
    paid once per connection.
    """

    ops: dict[str, Cost]
    total: Cost
    setup: Cost


def predict(plan: Plan, protocol: Protocol = "fused", batch: int = 1) -> Prediction:
    """The cost of ``batch`` images in one run of a valid plan. Raises `PlanError` on a protocol or batch unknown."""
    if protocol not in ("fused", "delphi"):
        raise PlanError(f"unknown protocol {protocol!r}", "known: fused, delphi")
    if batch < 1:
        raise PlanError(f"a batch of {batch} images, at least 1 is needed")
    found, packed, parameters = shapes(plan), packings(plan), PARAMETER_SETS[plan.parameter_set]
    ring_bits = plan.ring.ring_bits
    ops = {INPUT: Cost(online=Traffic(_frame(CLAIM + _ring(batch * prod(plan.input_shape), ring_bits)), 0, 1))}
    for op in plan.ops:
        operand = found[op.inputs[0]]
        if op.name in packed:
            ops[op.name] = linear(packed[op.name], parameters, ring_bits, batch)
        else:
            ops[op.name] = interactive(op, operand, ring_bits, protocol, batch)
    answer = _frame(_ring(batch * prod(found[plan.output]), ring_bits))
    ops[OUTPUT] = Cost(offline=Traffic(_frame(CLAIM), _frame(CLAIM), 1), online=Traffic(0, answer, 0))
    return Prediction(ops, _with_rounds(plan, total(ops.values())), setup(parameters, protocol))


def linear(packing: Packing, parameters: ParameterSet, ring_bits: int, batch: int) -> Cost:
    """A Conv or Linear: masks up, answers down, image after image; nothing online."""
    up = _he_frames([upload_bytes(parameters)] * packing.uploads)
    down = _he_frames(list(response_bytes(packing, ring_bits)))
    inputs, outputs = prod(packing.input_shape), packing.outputs * packing.out_h * packing.out_w
    return Cost(
        offline=Traffic(batch * up, batch * down, 1),
        stored_bytes_client=batch * WORD * (inputs + outputs),
        stored_bytes_server=batch * WORD * outputs,
    )


def interactive(op: Op, operand: Shape, ring_bits: int, protocol: Protocol, batch: int) -> Cost:
    """Any other op for ``batch`` operands of that shape; ops on shares alone cost nothing."""
    elements = prod(operand)
    match op:
        case Relu():
            kept = int(kept_mask(op, elements).sum())
            cost = relu(batch * kept, op.window, op.shift, ring_bits, protocol)
            if kept < elements and op.shift:
                shifted = rescale(batch * (elements - kept), op.shift, ring_bits, protocol)
                return _same_round(cost, shifted)
            return cost
        case Rescale() if op.shift > 0:
            return rescale(batch * elements, op.shift, ring_bits, protocol)
        case MaxPool():
            pairs = pairs_per_level(op, operand)
            cost = total(relu(batch * count, op.window, 0, ring_bits, protocol) for count in pairs)
            return _with(cost, offline_rounds=min(1, len(pairs)), online_rounds=len(pairs))
        case _:
            return Cost()


def relu(elements: int, window: int, shift: int, ring_bits: int, protocol: Protocol) -> Cost:
    """One vector of ReLUs."""
    bits = window - shift
    offline, online, stored = Traffic(0, HASH_KEY, 1), Traffic(0, 0, 1), Cost(relus=elements)
    for p in _chunks(elements, RELU_CHUNK):
        if protocol == "delphi":
            gates = 3 * (ring_bits - 1) - shift
            offline, online, stored = _add_garbled(p, gates, ring_bits, offline, online, stored)
            continue
        # Labels of the client's share; tables and the reverse transfer; its correction.
        offline += Traffic(_frame(_ot(bits * p)), _frame(AND_GATE * (bits - 1) * p + _ot(p)))
        offline += Traffic(_frame(_ring(p, ring_bits)))
        online += Traffic(_frame(_ring(p, ring_bits)), _frame(LABEL * bits * p + _ring(4 * p, ring_bits)))
        stored += Cost(
            stored_bytes_client=p * (AND_GATE * (bits - 1) + LABEL * bits + 3 * WORD),  # a'', w, r'
            stored_bytes_server=p * (5 * WORD + 1),  # four pads, u, a colour
        )
    return stored + Cost(offline=offline, online=online)


def rescale(elements: int, shift: int, ring_bits: int, protocol: Protocol) -> Cost:
    """One vector of right shifts."""
    offline, online, stored = Traffic(0, HASH_KEY, 1), Traffic(0, 0, 1), Cost(rescales=elements)
    if protocol == "delphi":
        for p in _chunks(elements, RELU_CHUNK):
            offline, online, stored = _add_garbled(p, 2 * (ring_bits - 1), ring_bits, offline, online, stored)
        return stored + Cost(offline=offline, online=online)
    for p in _chunks(elements, RESCALE_CHUNK):
        offline += Traffic(_frame(_ring(p, shift)), _frame(_ot(p)))
        online += Traffic(_frame(_ring(p, ring_bits)), _frame(_ring(p, 1)))
        stored += Cost(
            stored_bytes_client=p * 3 * WORD,  # a'', q with A, r'
            stored_bytes_server=p * (WORD + 1),  # g, c
        )
    return stored + Cost(offline=offline, online=online)


def setup(parameters: ParameterSet, protocol: Protocol) -> Cost:
    """Once per connection: base transfers for each direction of the extension, and the client's public key.

    Each set of base transfers is one point one way and one per transfer back (Chou and Orlandi, 2015). The hello and
    the plan itself come before and are not counted.
    """
    one, many = _frame(POINT), _frame(BASE_OTS * POINT)
    reverse = protocol == "fused"  # the client is sender, too
    key = _frame(upload_bytes(parameters))
    return Cost(offline=Traffic(one + key + reverse * many, many + reverse * one, 1 + reverse))


def _add_garbled(
    p: int, gates: int, ring_bits: int, offline: Traffic, online: Traffic, stored: Cost
) -> tuple[Traffic, Traffic, Cost]:
    """One chunk whose whole function is garbled; the client's inputs are its share and its next mask."""
    offline += Traffic(_frame(_ot(2 * ring_bits * p)), _frame(AND_GATE * gates * p))
    online += Traffic(_frame(_ring(p, ring_bits)), _frame(LABEL * ring_bits * p))
    stored += Cost(
        stored_bytes_client=p * (AND_GATE * gates + LABEL * 2 * ring_bits + WORD), stored_bytes_server=p * WORD
    )
    return offline, online, stored


def _with_rounds(plan: Plan, cost: Cost) -> Cost:
    levels = online_levels(plan)
    offline = len(offline_waves(plan)) + (2 if levels else 1)
    return _with(cost, offline_rounds=offline, online_rounds=len(levels) + 1)


def _with(cost: Cost, offline_rounds: int, online_rounds: int) -> Cost:
    return replace(
        cost,
        offline=replace(cost.offline, rounds=offline_rounds),
        online=replace(cost.online, rounds=online_rounds),
    )


def _same_round(first: Cost, second: Cost) -> Cost:
    return _with(first + second, offline_rounds=1, online_rounds=1)


def _chunks(elements: int, size: int) -> Iterator[int]:
    """Padded sizes of the chunks of a vector."""
    for start in range(0, elements, size):
        yield -(-min(size, elements - start) // GROUP) * GROUP


def _ot(transfers: int) -> int:
    return OT_BYTES * -(-transfers // OT_BLOCK) * OT_BLOCK


def _ring(elements: int, bits: int) -> int:
    return bits_to_bytes(elements * bits)


def _frame(content: int) -> int:
    return FRAME_HEADER + content


def _he_frames(ciphertexts: list[int]) -> int:
    return sum(ciphertexts) + FRAME_HEADER * -(-len(ciphertexts) // HE_FRAME)
