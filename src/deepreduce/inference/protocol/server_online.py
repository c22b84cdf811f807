"""The server's online phase: rounds of messages for each level of ReLUs (docs/reference/protocol.md, "whole run")."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ... import _core
from ...plan import OUTPUT
from ...plan.execution.schedule import Step
from ..transport.channel import Channel
from ..transport.frames import Kind
from ..transport.meter import Run
from .linear import OnlineLinear
from .material import ServerMaterial
from .nonlinear.vector import ServerVector, pad, part
from .program import Program, Ring, Shares


def predict_online(
    channel: Channel,
    program: Program,
    material: ServerMaterial,
    operand: Ring,
    linears: Mapping[str, OnlineLinear],
    threads: int,
) -> Run:
    """Send the client its share of the answer to the masked images ``operand`` [batch, C, H, W]; return what it cost.

    Uses up the material: the caller wipes it. Raises `SessionError` when the client sends another message.
    """
    run = Run(material.offline)
    shares = Shares(program, operand)

    def linear(name: str, x: Ring) -> Ring:
        with channel.meter.op(name):
            return linears[name].apply(x, material.linear_masks[name], threads)

    try:
        with channel.meter.phase(run.online):
            shares.settle(linear)
            for level in program.levels:
                _run_level(channel, level, material, shares)
                shares.settle(linear)
            with channel.meter.op(OUTPUT):
                answer = np.ascontiguousarray(shares.values[program.plan.output]).reshape(-1)
                channel.send(Kind.RESULT, _core.pack(answer, program.plan.ring.ring_bits), op=OUTPUT)
    finally:
        shares.wipe()
    return run


def _run_level(channel: Channel, level: list[Step], material: ServerMaterial, shares: Shares) -> None:
    """Run the rounds of a level: in each, send the messages of all vectors, then receive their answers."""
    running: list[tuple[Step, ServerVector, Ring]] = []
    for step in level:
        with channel.meter.op(step.op):
            running += [
                (step, v, pad(flat)) for v, flat in zip(material.vectors[step], shares.operands(step), strict=True)
            ]
    closed: list[list[Ring]] = [[] for _ in running]
    for number in range(max((v.vector.rounds for _, v, _ in running), default=0)):
        for step, v, b in running:
            with channel.meter.op(step.op):
                for chunk in v.vector.chunks if number < v.vector.rounds else ():
                    content = v.send(number, chunk, part(b, chunk))
                    if chunk.rounds[number].down:
                        channel.send(Kind.LABELS, content, op=step.op)
        for (step, v, b), results in zip(running, closed, strict=True):
            with channel.meter.op(step.op):
                for chunk in v.vector.chunks if number < v.vector.rounds else ():
                    size = chunk.rounds[number].up
                    content = channel.receive(Kind.ANSWERS, size, op=step.op) if size else np.empty(0, np.uint8)
                    result = v.receive(number, chunk, part(b, chunk), content)
                    if result is not None:
                        results.append(result)
    by_step: dict[Step, list[Ring]] = {step: [] for step in level}
    for (step, v, _), results in zip(running, closed, strict=True):
        flat = np.concatenate(results) if results else np.empty(0, np.uint64)
        by_step[step].append(flat[: v.vector.elements])
    for step in level:
        shares.results(step, by_step[step])
