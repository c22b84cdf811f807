"""The server's online phase: one message each way per level of ReLUs (docs/reference/protocol.md, "whole run")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    """Run one round: send the labels of all vectors, then receive their answers."""
    sent: list[tuple[Step, ServerVector, Any]] = []
    for step in level:
        with channel.meter.op(step.op):
            for v, flat in zip(material.vectors[step], shares.operands(step), strict=True):
                b = pad(flat)
                sent.append((step, v, b))
                for chunk in v.vector.chunks:
                    channel.send(Kind.LABELS, v.labels(chunk, part(b, chunk)), op=step.op)
    results: dict[Step, list[Ring]] = {step: [] for step in level}
    for step, v, b in sent:
        with channel.meter.op(step.op):
            closed = [
                v.close(chunk, part(b, chunk), channel.receive(Kind.ANSWERS, chunk.answers, op=step.op))
                for chunk in v.vector.chunks
            ]
            flat = np.concatenate(closed) if closed else np.empty(0, np.uint64)
            results[step].append(flat[: v.vector.elements])
    for step in level:
        shares.results(step, results[step])
