"""The client's offline phase: everything that does not depend on the image, as one-time material."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import numpy as np

from ... import _core
from ...errors import SessionError
from ...plan import INPUT, OUTPUT
from ...plan.cost.traffic import BATCH_ID, CLAIM
from ...plan.execution.schedule import Step
from ...progress import Progress
from ..transport.channel import Channel
from ..transport.errors import BusyError
from ..transport.frames import Kind
from ..transport.meter import Phase
from ..zeroize import wipe, wipe_unless_shared, wipe_within
from .key_setup import Keys, client_batch_labels
from .linear import Decrypted, PackingLayout, encrypted_input
from .material import ClientMaterial
from .nonlinear.registry import client_vector
from .nonlinear.vector import Bytes, ClientVector, pad, part, vector_salts
from .program import Program, Ring, Shares, fresh_result

Vectors = dict[Step, list[ClientVector]]


@dataclass(frozen=True, slots=True)
class Preparation:
    """Makes material over a session's channel."""

    program: Program
    layouts: dict[str, PackingLayout]
    keys: Keys
    channel: Channel
    threads: int
    progress: Progress

    def run(self) -> tuple[bytes, ClientMaterial]:
        """Return a fresh batch id and its material. Raises `SessionError`."""
        program, channel, batch_id = self.program, self.channel, os.urandom(BATCH_ID)
        phase = Phase()
        with channel.meter.phase(phase):
            channel.send(Kind.PREPARE, batch_id, op=INPUT)
        # The claim binds the batch id, so the transcript may begin after the request.
        with channel.meter.phase(phase), channel.transcript() as digests:
            salts = vector_salts(batch_id)
            vectors = {
                step: [client_vector(p.vector, self.threads, next(salts)) for p in program.parts[step]]
                for level in program.levels
                for step in level
            }
            shape = (program.batch, *program.plan.input_shape)
            r0 = _core.random_ring(prod(shape), program.plan.ring.ring_bits).reshape(shape)
            shares = Shares(program, r0)
            with _wiping_shares(shares, r0, program.plan.output, vectors):
                self._linear_shares(shares, vectors)
                self._garbled(shares, vectors, batch_id)
                transcript = hashlib.sha256(digests[0].digest() + digests[1].digest()).digest()
                channel.send(Kind.CLAIM, batch_id, transcript, op=OUTPUT)
                if channel.receive(Kind.CLAIM, CLAIM, op=OUTPUT).tobytes() != batch_id + transcript:
                    raise SessionError("the parties saw different preparations", "connect again")
        return batch_id, ClientMaterial(r0, vectors, shares.values[program.plan.output], transcript, phase)

    def _linear_shares(self, shares: Shares, vectors: Vectors) -> None:
        """The client's share of every value: masks where it is fresh, W r - s where the server answers."""
        operands, answers = dict[str, Ring](), dict[str, Ring]()

        def linear(name: str, operand: Ring) -> Ring | None:
            operands[name] = operand
            return answers.get(name)

        for wave in [*self.program.waves, []]:
            self._walk(shares, vectors, linear)
            if wave:
                self._homomorphic(wave, operands, answers)

    def _walk(self, shares: Shares, vectors: Vectors, linear: Callable[[str, Ring], Ring | None]) -> None:
        """Everything that can be known so far. A re-sharing op's result does not wait for its operand."""
        program = self.program
        shares.settle(linear)
        for level in program.levels:
            for step in level:
                fresh = fresh_result(program, step)
                if step.op in shares.values or not (fresh or shares.has_operand(step)):
                    continue
                if not fresh:
                    shares.operands(step)  # begins a tournament
                shares.results(step, [v.mask[: v.vector.elements] for v in vectors[step]])
            shares.settle(linear)

    def _homomorphic(self, wave: list[str], operands: dict[str, Ring], answers: dict[str, Ring]) -> None:
        """Sends one wave's encrypted shares while the answers to the first of them come back."""
        channel, he, program = self.channel, self.keys.he, self.program

        def uploads() -> Iterator[tuple[Kind, Bytes | bytes, str]]:
            for name in wave:
                for image in operands[name]:
                    for content in encrypted_input(self.layouts[name], image, he, self.threads):
                        yield Kind.UPLOAD, content, name

        with _while_sending(channel, uploads()):
            for index, name in enumerate(wave):
                self.progress("linear layers", index, len(wave))
                layout = self.layouts[name]
                with channel.meter.op(name):
                    images = []
                    for _ in range(program.batch):
                        image = Decrypted(layout)
                        for first, count, size in layout.response_frames():
                            image.add(he, first, count, channel.receive(Kind.RESPONSE, size, op=name), self.threads)
                        images.append(image.output())
                    answers[name] = np.stack(images).reshape(program.batch, *program.shapes[name])
                    wipe(*images)

    def _garbled(self, shares: Shares, vectors: Vectors, batch_id: bytes) -> None:
        """Choices up, garbled material down, products up; all vectors at once."""
        channel, keys, ot = self.channel, self.keys, self.keys.ot
        if vectors and self.program.protocol == "delphi":
            ot = client_batch_labels(channel, keys, batch_id)
        order = [(step, v, pad(operand)) for step, v, operand in self._operands(shares, vectors)]
        for _, v, operand in order:
            for chunk in v.vector.chunks:
                if not chunk.choices:  # the server may begin with these at once
                    v.choose(chunk, part(operand, chunk), ot)

        def choices() -> Iterator[tuple[Kind, Bytes | bytes, str]]:
            for step, v, operand in order:
                for chunk in v.vector.chunks:
                    if chunk.choices:
                        yield Kind.CHOICES, v.choose(chunk, part(operand, chunk), ot), step.op

        products: list[tuple[str, Bytes]] = []
        with _while_sending(channel, choices()):
            for index, (step, v, _) in enumerate(order):
                self.progress("garbled material", index, len(order))
                with channel.meter.op(step.op):
                    for chunk in v.vector.chunks:
                        content = channel.receive(Kind.GARBLED, chunk.garbled, op=step.op)
                        if not v.has_chosen(chunk):
                            raise SessionError("the server answered what it was not yet asked", "connect again")
                        answer = v.receive_garbled(chunk, content, keys.reverse)
                        if answer is not None:
                            products.append((step.op, answer))
        for op, content in products:
            channel.send(Kind.PRODUCTS, content, op=op)
        wipe_unless_shared([operand for _, _, operand in order], [*shares.values.values(), *_masks(vectors)])

    def _operands(self, shares: Shares, vectors: Vectors) -> Iterator[tuple[Step, ClientVector, Ring]]:
        """Yield every vector with the client's share of its operand, in the order of the schedule."""
        known = shares.values
        again = Shares(self.program, known[INPUT])  # a second walk, now that all answers are there
        again.settle(lambda name, _: known[name])
        for level in self.program.levels:
            for step in level:
                for v, operand in zip(vectors[step], again.operands(step), strict=True):
                    yield step, v, operand
                again.results(step, [v.mask[: v.vector.elements] for v in vectors[step]])
            again.settle(lambda name, _: known[name])


def _masks(vectors: Vectors) -> Iterator[Ring]:
    return (v.mask for parts in vectors.values() for v in parts)


@contextmanager
def _wiping_shares(shares: Shares, r0: Ring, output: str, vectors: Vectors) -> Iterator[None]:
    """Wipe the client's shares at the end, except those to keep; after an error, all."""
    try:
        yield
        wipe_unless_shared(shares.values.values(), [r0, shares.values[output], *_masks(vectors)])
    except BaseException:
        shares.wipe()
        for parts in vectors.values():
            for v in parts:
                wipe_within(v)
        raise


@contextmanager
def _while_sending(channel: Channel, frames: Iterator[tuple[Kind, Bytes | bytes, str]]) -> Iterator[None]:
    """Makes and sends the frames (kind, content, op) in a second thread while the block receives; neither outlives the
    other. A server that is busy discards what still comes, so the frame that is on its way is sent whole.
    """
    failure: list[BaseException] = []
    unwanted = threading.Event()

    def run() -> None:
        try:
            for kind, content, op in frames:
                if unwanted.is_set():
                    return
                channel.send(kind, content, op=op, background=True)
        except SessionError as error:
            failure.append(error)  # the receiver learns it from the stream, perhaps with the peer's reason
        except BaseException as error:
            failure.append(error)
            channel.close()  # wakes the receiver
        finally:
            _core.wipe_residue()

    sender = threading.Thread(target=run, daemon=True)
    channel.meter.turn()
    try:
        sender.start()
    except RuntimeError as error:
        raise SessionError(f"this machine gives us no thread: {error}", "stop other programs, then try again") from None
    try:
        yield
    except BaseException as error:
        unwanted.set()
        if sender.is_alive() and not isinstance(error, BusyError):
            channel.close()
        sender.join()
        if failure and not isinstance(failure[0], SessionError):
            raise failure[0] from None
        raise
    sender.join()
    if failure:
        raise failure[0]
