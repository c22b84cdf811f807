"""Predicted traffic of a private run, message by message. A session must send exactly these bytes.

Bytes include the header of every frame. The formulas follow docs/reference/protocol.md: l is the ring's width, n =
window - shift the bits that a comparison sees, p the elements of a chunk rounded up to whole groups of instances.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from ...errors import PlanError
from ..execution.maxpool import pairs_per_level
from ..execution.messages import (
    AND_GATE,
    DEFAULT,
    FRAME_HEADER,
    HE_FRAME,
    LABEL,
    Protocol,
    Vector,
    check_protocol,
    frame_bytes,
    ot_bytes,
    relu_vector,
    rescale_vector,
)
from ..execution.packing import Packing, bits_to_bytes, packing_levels, packings, response_bytes, upload_bytes
from ..execution.schedule import Step, offline_waves, online_levels
from ..schema import (
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
from ..shapes import Shape, shapes
from ..validation import rescale_window

BATCH_ID = 16
CLAIM = BATCH_ID + 32  # and the digest of the offline transcript
RESERVED = 1  # whether the server has the batch
WORD = 8  # a ring element at rest
POINT, BASE_SEED = 32, 32
BASE_OTS = 128
KEM_KEY, KEM_CIPHERTEXT = 1184, 1088  # ML-KEM-768
BASE_REQUEST = POINT + BASE_SEED
BASE_ANSWER = BASE_OTS * (POINT + KEM_KEY)
BASE_CIPHERTEXTS = BASE_OTS * 2 * KEM_CIPHERTEXT
BASE_CHOICES = ot_bytes(BASE_OTS)  # where transfers of another extension are the base transfers
OT_SETUP = LABEL + BASE_OTS * 2 * LABEL  # the extension's salt, and both sides of every level of its trees, masked


@dataclass(frozen=True, slots=True)
class Prediction:
    """``ops`` holds every op of the plan and the pseudo-ops "input" and "output".

    The rounds of an op are what it takes alone; ``total`` has those of the run, in which ops share rounds. ``setup`` is
    paid once per connection that prepares.
    """

    ops: dict[str, Cost]
    total: Cost
    setup: Cost


def predict(plan: Plan, protocol: Protocol = DEFAULT, batch: int = 1) -> Prediction:
    """Return the cost of ``batch`` images in one run of a valid plan. Raises `SettingError` on an unknown protocol,
    `PlanError` on an impossible batch.
    """
    check_protocol(protocol)
    if batch < 1:
        raise PlanError(f"a batch of {batch} images, at least 1 is needed")
    found, packed, parameters = shapes(plan), packings(plan), PARAMETER_SETS[plan.parameter_set]
    ring_bits = plan.ring.ring_bits
    image = frame_bytes(_ring(batch * prod(plan.input_shape), ring_bits))
    ops = {INPUT: Cost(offline=_request(plan, protocol), online=Traffic(image, 0, 1))}
    for op in plan.ops:
        operand = found[op.inputs[0]]
        if op.name in packed:
            ops[op.name] = linear(packed[op.name], parameters, ring_bits, batch)
        else:
            ops[op.name] = interactive(op, operand, ring_bits, protocol, batch)
    answer = frame_bytes(_ring(batch * prod(found[plan.output]), ring_bits))
    # Both claim the batch when it is finished, and the client reserves it before it sends the image.
    claims = Traffic(2 * frame_bytes(CLAIM), frame_bytes(CLAIM) + frame_bytes(RESERVED), 1)
    ops[OUTPUT] = Cost(offline=claims, online=Traffic(0, answer, 0))
    return Prediction(ops, _with_rounds(plan, total(ops.values()), protocol), setup(plan))


def linear(packing: Packing, parameters: ParameterSet, ring_bits: int, batch: int) -> Cost:
    """Return a Conv or Linear: masks up, answers down, image after image; nothing online."""
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
            cost = vector(relu_vector(batch * kept, ring_bits, op.shift, op.window, protocol))
            if kept < elements and op.shift:
                removed = rescale_vector(batch * (elements - kept), ring_bits, op.shift, op.window, protocol)
                return _same_round(cost, vector(removed))
            return cost
        case Rescale() if op.shift > 0:
            window = rescale_window(op, ring_bits)
            return vector(rescale_vector(batch * elements, ring_bits, op.shift, window, protocol))
        case MaxPool():
            pairs = pairs_per_level(op, operand)
            cost = total(vector(relu_vector(batch * count, ring_bits, 0, op.window, protocol)) for count in pairs)
            return _with(cost, offline_rounds=min(1, len(pairs)), online_rounds=cost.online.rounds)
        case _:
            return Cost()


def vector(shape: Vector) -> Cost:
    """Return one vector of comparisons or shifts."""
    offline, online, stored = Traffic(rounds=1), Traffic(rounds=shape.rounds), Cost()
    for chunk in shape.chunks:
        offline += Traffic(frame_bytes(chunk.choices) + frame_bytes(chunk.products), frame_bytes(chunk.garbled))
        for exchange in chunk.rounds:
            online += Traffic(frame_bytes(exchange.up), frame_bytes(exchange.down))
        stored += _stored(shape, chunk.padded)
    count = Cost(relus=shape.elements) if shape.function == "relu" else Cost(rescales=shape.elements)
    return count + stored + Cost(offline=offline, online=online)


def _stored(shape: Vector, p: int) -> Cost:
    """Material of p elements that lies between preparation and use."""
    if shape.protocol == "delphi":
        client = AND_GATE * shape.gates + LABEL * 2 * shape.ring_bits + WORD  # tables, labels, r'
        return Cost(stored_bytes_client=p * client, stored_bytes_server=p * shape.ring_bits // 8)
    c, relu, row = shape.comparison, shape.function == "relu", p // 8
    selecting = shape.selectors or shape.products
    element = WORD // 2 if shape.ring_bits <= 32 else WORD
    nodes = 2 * len(c.groups) * row
    tables = c.table_bytes(p)
    chosen = (c.transfers + 2 * c.ands + selecting) * row
    return Cost(
        # r'; a, the selected pad and w, or a and two w; tables; choices, shares and triples of bits
        stored_bytes_client=p * (WORD + 3 * element) + tables + chosen + nodes + 3 * c.ands * row,
        # pads, rho and u, or two u; choices and pads of digits, masks, shares and triples of bits, lambda
        stored_bytes_server=p * ((1 << shape.selectors) + 1 + relu) * element
        + (c.bits + 2 * len(c.widths) + c.products + 3 * c.ands + shape.products) * row
        + nodes,
    )


def setup(plan: Plan) -> Cost:
    """Once per connection that prepares: the client's keys, base transfers, and trees of both directions."""
    parameters = PARAMETER_SETS[plan.parameter_set]
    encryptions = 1 + parameters.primes * len(packing_levels(plan))  # the public key, and the packing keys
    request = frame_bytes(BASE_REQUEST + encryptions * upload_bytes(parameters))
    keys = frame_bytes(BASE_CIPHERTEXTS + OT_SETUP + BASE_CHOICES)
    return Cost(offline=Traffic(request + keys, frame_bytes(BASE_ANSWER) + frame_bytes(OT_SETUP), 2))


def _request(plan: Plan, protocol: Protocol) -> Traffic:
    """Offline: the batch's id; with `delphi` the labels' direction of this batch, too."""
    asked = Traffic(frame_bytes(BATCH_ID))
    own_labels = protocol == "delphi" and online_levels(plan)
    return asked + Traffic(frame_bytes(OT_SETUP), frame_bytes(BASE_CHOICES)) if own_labels else asked


def _with_rounds(plan: Plan, cost: Cost, protocol: Protocol) -> Cost:
    levels = online_levels(plan)
    offline = len(offline_waves(plan)) + (2 if levels else 1)
    return _with(cost, offline_rounds=offline, online_rounds=sum(level_rounds(plan, protocol)) + 1)


def level_rounds(plan: Plan, protocol: Protocol) -> list[int]:
    """Return the round trips of each level: those of its op that takes the most."""
    found, ops = shapes(plan), {op.name: op for op in plan.ops}

    def needed(step: Step) -> int:
        op = ops[step.op]
        cost = interactive(op, found[op.inputs[0]], plan.ring.ring_bits, protocol, 1)
        return cost.online.rounds // (len(pairs_per_level(op, found[op.inputs[0]])) if isinstance(op, MaxPool) else 1)

    return [max(map(needed, level)) for level in levels] if (levels := online_levels(plan)) else []


def _with(cost: Cost, offline_rounds: int, online_rounds: int) -> Cost:
    return replace(
        cost,
        offline=replace(cost.offline, rounds=offline_rounds),
        online=replace(cost.online, rounds=online_rounds),
    )


def _same_round(first: Cost, second: Cost) -> Cost:
    return _with(first + second, offline_rounds=1, online_rounds=max(first.online.rounds, second.online.rounds))


def _ring(elements: int, bits: int) -> int:
    return bits_to_bytes(elements * bits)


def _he_frames(ciphertexts: list[int]) -> int:
    return sum(ciphertexts) + FRAME_HEADER * -(-len(ciphertexts) // HE_FRAME)
