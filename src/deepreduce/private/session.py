"""One client's connection at the server: greeting, preparations, predictions.

What a client does not need to know stays here; what goes wrong goes to the log as a fixed text and to the client as a
fixed code.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from .. import _core
from ..errors import SessionError
from ..plan import OUTPUT, Plan
from ..plan.cost import BATCH_ID, CLAIM
from ..plan.packing import bits_to_bytes
from ..plan.schedule import Step
from .hello import ClientHello, LimitError, RefusedError, VersionError, greet_client, server_keys
from .linear import ServerLinear, add_uploads
from .meter import Phase, Run
from .program import Program, Ring, Shares
from .roles import server_vector
from .transport import Channel, Kind, PeerError, Reason, SilenceError
from .vectors import ServerVector, pad, part, unpack

log = logging.getLogger("deepreduce.server")


class BatchError(SessionError):
    """The client named material that is not there, or not the same."""


REASONS: dict[type[SessionError], Reason] = {
    VersionError: Reason.VERSION,
    RefusedError: Reason.REFUSED,
    LimitError: Reason.LIMIT,
    BatchError: Reason.BATCH,
    SilenceError: Reason.TIMEOUT,
}


@dataclass(slots=True)
class Prepared:
    """One-time material of one batch of images."""

    linear_masks: dict[str, Ring]  # s of every linear op, [batch, ...]
    vectors: dict[Step, list[ServerVector]]
    transcript: bytes
    offline: Phase


class Host(Protocol):
    """What a session needs of its server."""

    plan: Plan
    linears: dict[str, ServerLinear]
    threads: int
    token: str | None
    idle_s: float
    closed: bool

    def program(self, hello: ClientHello) -> Program:
        """The program for what the client asked."""

    def most_prepared(self, hello: ClientHello) -> int:
        """Preparations that the client may hold."""

    def reserve(self, program: Program) -> None:
        """Books the memory of one preparation. Raises `LimitError` when there is none."""

    def release(self, program: Program, count: int) -> None:
        """Gives it back."""

    def on_run(self, run: Run) -> None:
        """Takes what an inference cost."""


class Session:
    """One client's connection."""

    def __init__(self, host: Host, channel: Channel, address: str) -> None:
        self._host, self._channel, self._address = host, channel, address
        self._prepared: OrderedDict[bytes, Prepared] = OrderedDict()
        self._program: Program | None = None

    def run(self) -> None:
        """Serves until the client leaves or something is wrong; never raises."""
        try:
            hello, most = greet_client(self._channel, self._host.plan, self._host.token, self._host.most_prepared)
            self._program = program = self._host.program(hello)
            self._keys = server_keys(self._channel, self._host.plan)
            while self._serve_one(program, most):
                pass
        except PeerError as error:
            self._log(error)
        except SessionError as error:
            self._log(error)
            self._channel.fail(REASONS.get(type(error), Reason.MALFORMED))
        except Exception as error:  # a fault of ours must not take the server down
            log.error("%s: session failed: %s", self._address, type(error).__name__, exc_info=error)
            self._channel.fail(Reason.INTERNAL)
        finally:
            if self._program is not None:
                self._host.release(self._program, len(self._prepared))
            self._prepared.clear()
            self._channel.close()

    def _log(self, error: SessionError) -> None:
        if not self._host.closed:  # which ends sessions under their feet
            log.warning("%s: session ended: %s", self._address, error.message)

    def _serve_one(self, program: Program, most: int) -> bool:
        """One request; False when the client has left."""
        plan, channel = program.plan, self._channel
        count = program.batch * prod(plan.input_shape)
        lengths = {Kind.PREPARE: BATCH_ID, Kind.INPUT: CLAIM + bits_to_bytes(count * plan.ring.ring_bits), Kind.BYE: 0}
        kind = channel.next_of(lengths, self._host.idle_s)
        if kind == Kind.BYE:
            return False
        if kind == Kind.INPUT and not self._prepared:
            raise BatchError("the client wants to predict, nothing is prepared")
        content = channel.content(lengths[kind])
        batch_id = content[:BATCH_ID].tobytes()
        if kind == Kind.PREPARE:
            if batch_id in self._prepared or len(self._prepared) >= most:
                raise LimitError(f"the client asked for more than {most} preparations, or for one twice")
            self._host.reserve(program)
            try:
                self._prepared[batch_id] = self._prepare(program, batch_id)
            except BaseException:
                self._host.release(program, 1)
                raise
            return True
        material = self._prepared.pop(batch_id, None)  # gone before its first byte is sent
        if material is None or material.transcript != content[BATCH_ID:CLAIM].tobytes():
            self._host.release(program, material is not None)
            raise BatchError("the client named a batch that is not prepared, or was prepared differently")
        try:
            operand = unpack(content[CLAIM:], count, plan.ring.ring_bits).reshape(program.batch, *plan.input_shape)
            self._predict(program, material, operand)
        finally:
            self._host.release(program, 1)
        return True

    # --- offline -----------------------------------------------------------------------------------------------------

    def _prepare(self, program: Program, batch_id: bytes) -> Prepared:
        channel, threads, phase = self._channel, self._host.threads, Phase()
        vectors = {
            step: [server_vector(p.vector, threads) for p in program.parts[step]]
            for level in program.levels
            for step in level
        }
        with channel.meter.phase(phase), channel.transcript() as digests:
            masks = {name: self._respond(program, name) for wave in program.waves for name in wave}
            self._garble(program, vectors)
            transcript = hashlib.sha256(digests[1].digest() + digests[0].digest()).digest()
            if channel.receive(Kind.CLAIM, CLAIM, op=OUTPUT).tobytes() != batch_id + transcript:
                raise SessionError("the parties saw different preparations")
            channel.send(Kind.CLAIM, batch_id, transcript, op=OUTPUT)
        return Prepared(masks, vectors, transcript, phase)

    def _respond(self, program: Program, name: str) -> Ring:
        """Answers one linear op's encrypted shares, image after image; returns its masks s [batch, ...]."""
        channel, threads, ring_bits = self._channel, self._host.threads, program.plan.ring.ring_bits
        linear, shape = self._host.linears[name], program.shapes[name]
        masks: Ring = _core.random_ring(program.batch * prod(shape), ring_bits).reshape(program.batch, -1)
        each: int = _core.he_parameters(ring_bits)["upload_bytes"]
        with channel.meter.op(name):
            for image in masks:
                uploads, first = linear.new_uploads(), 0
                for count in linear.layout.upload_frames:
                    content = channel.receive(Kind.UPLOAD, count * each, op=name)
                    add_uploads(uploads, first, count, content, threads)
                    first += count
                for frame in linear.respond(self._keys.he, uploads, image, threads):
                    channel.send(Kind.RESPONSE, frame, op=name)
        return masks.reshape(program.batch, *shape)

    def _garble(self, program: Program, vectors: dict[Step, list[ServerVector]]) -> None:
        channel, keys = self._channel, self._keys
        order = [(step.op, v) for level in program.levels for step in level for v in vectors[step]]
        for op, v in order:
            with channel.meter.op(op):
                for chunk in v.vector.chunks:
                    choices = channel.receive(Kind.CHOICES, chunk.choices, op=op) if chunk.choices else None
                    channel.send(Kind.GARBLED, v.garble(chunk, choices, keys.ot, keys.reverse), op=op)
        for op, v in order:
            with channel.meter.op(op):
                for chunk in v.vector.chunks:
                    if chunk.products:
                        v.receive_products(chunk, channel.receive(Kind.PRODUCTS, chunk.products, op=op))

    # --- online ------------------------------------------------------------------------------------------------------

    def _predict(self, program: Program, material: Prepared, operand: Ring) -> None:
        channel, run = self._channel, Run(material.offline)
        shares = Shares(program, operand)

        def linear(name: str, x: Ring) -> Ring:
            with channel.meter.op(name):
                return self._host.linears[name].apply(x, material.linear_masks[name], self._host.threads)

        with channel.meter.phase(run.online):
            shares.settle(linear)
            for level in program.levels:
                self._level(level, material, shares)
                shares.settle(linear)
            with channel.meter.op(OUTPUT):
                answer = np.ascontiguousarray(shares.values[program.plan.output]).reshape(-1)
                channel.send(Kind.RESULT, _core.pack(answer, program.plan.ring.ring_bits), op=OUTPUT)
        self._host.on_run(run)

    def _level(self, level: list[Step], material: Prepared, shares: Shares) -> None:
        """One round: labels of all vectors, then their answers."""
        channel = self._channel
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
