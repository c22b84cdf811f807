"""The client's online phase: rounds of messages for each level of ReLUs (docs/reference/protocol.md, "whole run")."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ... import _core
from ...plan import INPUT, OUTPUT
from ...plan.execution.packing import bits_to_bytes
from ...plan.reference import wrap
from ...progress import Progress
from ..transport.channel import Channel
from ..transport.frames import Kind
from ..transport.meter import Run
from ..zeroize import wiping
from .material import ClientMaterial
from .nonlinear.vector import ClientVector, unpack
from .program import Program


def predict_online(
    channel: Channel,
    program: Program,
    material: ClientMaterial,
    x: NDArray[np.int64],
    progress: Progress,
    before_result: Callable[[], None] | None = None,
) -> tuple[NDArray[np.int64], Run]:
    """Return the answers to images [batch, C, H, W], and what they cost.

    The server has reserved the material, which is used up: the caller wipes it. ``before_result`` is called when all is
    sent and only the answer is waited for.
    """
    ring_bits = program.plan.ring.ring_bits
    run = Run(material.offline)
    with channel.meter.phase(run.online):
        with channel.meter.op(INPUT):
            masked = (x.view(np.uint64) - material.input_mask) & program.mask
            content = _core.pack(masked.reshape(-1), ring_bits)
            channel.send(Kind.INPUT, content, op=INPUT)
        for done, level in enumerate(program.levels):
            progress("predict", done, len(program.levels))
            vectors = [(step.op, v) for step in level for v in material.vectors[step]]
            for number in range(max((v.vector.rounds for _, v in vectors), default=0)):
                _run_round(channel, number, vectors)
        if before_result is not None:
            before_result()
        with channel.meter.op(OUTPUT):
            count = material.output_share.size
            content = channel.receive(Kind.RESULT, bits_to_bytes(count * ring_bits), op=OUTPUT)
            server = unpack(content, count, ring_bits).reshape(material.output_share.shape)
    progress("predict", len(program.levels), len(program.levels))
    with wiping(server):
        return wrap((server + material.output_share).view(np.int64), ring_bits), run


def _run_round(channel: Channel, number: int, vectors: list[tuple[str, ClientVector]]) -> None:
    """Receive a round's messages of all vectors, then answer them."""
    answers = []
    for op, v in vectors:
        with channel.meter.op(op):
            for chunk in v.vector.chunks if number < v.vector.rounds else ():
                size = chunk.rounds[number].down
                content = channel.receive(Kind.LABELS, size, op=op) if size else np.empty(0, np.uint8)
                answers.append((op, v.answer(number, chunk, content)))
    for op, content in answers:
        with channel.meter.op(op):
            if len(content):
                channel.send(Kind.ANSWERS, content, op=op)
