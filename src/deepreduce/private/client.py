"""The client: holds the image, learns the answer, shows the server neither.

`Client.prepare` does everything that does not depend on the image; `Client.predict` then needs one message each way per
level of ReLUs. Material is used once: it leaves the store before the first byte that depends on the image is sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..errors import SessionError, SettingError
from ..plan import INPUT, OUTPUT, Plan, decode_output, digest, encode_input
from ..plan.cost import BATCH_ID, CLAIM
from ..plan.messages import Protocol
from ..plan.packing import bits_to_bytes
from ..plan.reference import wrap
from ..plan.schedule import Step
from .hello import VERSION, ClientHello, client_keys, greet_server
from .linear import Decrypted, Layout, encrypted_input
from .meter import Phase, Run
from .program import Ring, Shares, compile_plan, fresh_result
from .roles import client_vector
from .streams import TcpStream, TlsStream
from .transport import Channel, Kind, Reason, Stream
from .vectors import ClientVector, pad, part

Mode = Literal["prepared", "single"]


@dataclass(slots=True)
class Prepared:
    """One-time material of one batch of images."""

    input_mask: Ring  # r_0 [batch, C, H, W]
    vectors: dict[Step, list[ClientVector]]
    output_share: Ring
    transcript: bytes  # SHA-256 over the offline frames of both directions
    offline: Phase


@dataclass(slots=True)
class Setup:
    """What the beginning of the session cost."""

    phase: Phase = field(default_factory=Phase)

    @property
    def seconds(self) -> float:
        """From connecting to the last base transfer."""
        return self.phase.seconds


class Client:
    """A session with a server.

    ``tls``: an `ssl.SSLContext` (`deepreduce.private.client_context`), or None for plain TCP, which is for tests: it
    keeps out nobody who can change messages. ``pin``: the plan's digest, if it is known. ``batch``: images per
    prediction. ``mode="single"`` prepares within `predict` and keeps nothing. Raises `SessionError`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        protocol: Protocol = "fused",
        batch: int = 1,
        threads: int = 1,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        pin: str | None = None,
        token: str | None = None,
        mode: Mode = "prepared",
        timeout_s: float = 60.0,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        if mode not in ("prepared", "single"):
            raise SettingError(f"unknown mode {mode!r}", "known: prepared, single")
        if threads < 1:
            raise SettingError(f"{threads} threads, at least 1 is needed")
        self.runs: list[Run] = []
        self.setup = Setup()
        self._mode, self._threads = mode, threads
        self._progress = on_progress or (lambda what, done, total: None)
        self._prepared: OrderedDict[bytes, Prepared] = OrderedDict()
        self._lock = threading.Lock()
        started = time.perf_counter()
        self._channel = Channel(_connect(host, port, tls, server_name, timeout_s), "server")
        with self._guarded(), self._channel.meter.phase(self.setup.phase):
            self.plan: Plan = greet_server(self._channel, ClientHello(VERSION, protocol, batch, token, pin))
            self.plan_digest = digest(self.plan)
            self._keys = client_keys(self._channel, self.plan)
        self.setup.phase.seconds = time.perf_counter() - started
        self._program = compile_plan(self.plan, protocol, batch)
        ring_bits = self.plan.ring.ring_bits
        self._layouts = {name: Layout(packing, ring_bits) for name, packing in self._program.packings.items()}

    @property
    def prepared(self) -> int:
        """How many predictions are prepared."""
        return len(self._prepared)

    def prepare(self, n: int = 1) -> None:
        """Prepares ``n`` predictions, before any image is known. Raises `SessionError`."""
        for done in range(n):
            self._progress("prepare", done, n)
            with self._lock, self._guarded():
                batch_id, material = self._prepare()
                self._prepared[batch_id] = material
        self._progress("prepare", n, n)

    def predict(self, x: ArrayLike) -> NDArray[np.float64]:
        """Answers [batch, ...] in real numbers for images [batch, C, H, W]. Uses up one preparation."""
        return decode_output(self.plan, self.predict_integers(encode_input(self.plan, x)))

    def predict_integers(self, x: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same on the plan's integers."""
        expected = (self._program.batch, *self.plan.input_shape)
        if x.shape != expected:
            raise SettingError(f"the images have the shape {x.shape}, this session takes {expected}")
        if not self._prepared:
            if self._mode != "single":
                raise SessionError("nothing is prepared", "call prepare(n) first, or use mode='single'")
            self.prepare(1)
        with self._lock, self._guarded():
            batch_id, material = self._prepared.popitem(last=False)  # gone before its first byte is sent
            return self._predict(batch_id, material, x)

    def close(self) -> None:
        """Ends the session; what is prepared is lost."""
        self._prepared.clear()
        with contextlib.suppress(SessionError, OSError):
            self._channel.send(Kind.BYE)
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """After any error the session is over: nothing half done is tried again."""
        try:
            yield
        except SessionError:
            self._end()
            raise
        except ValueError as error:
            # The core refuses malformed content by ValueError.
            self._end()
            raise SessionError(f"the server sent what cannot be used: {error}", "connect again") from None
        except KeyError:
            self._end()
            raise SessionError("the server answered what it was not yet asked", "connect again") from None
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        self._prepared.clear()
        self._channel.fail(Reason.MALFORMED)

    # --- offline -----------------------------------------------------------------------------------------------------

    def _prepare(self) -> tuple[bytes, Prepared]:
        program, channel, batch_id = self._program, self._channel, os.urandom(BATCH_ID)
        phase = Phase()
        with channel.meter.phase(phase):
            channel.send(Kind.PREPARE, batch_id, op=INPUT)
        # The claim binds the batch id, so the transcript may begin after the request.
        with channel.meter.phase(phase), channel.transcript() as digests:
            vectors = {
                step: [client_vector(p.vector, self._threads) for p in program.parts[step]]
                for level in program.levels
                for step in level
            }
            count = program.batch * prod(self.plan.input_shape)
            r0 = _core.random_ring(count, self.plan.ring.ring_bits).reshape(program.batch, *self.plan.input_shape)
            shares = self._linear_shares(r0, vectors)
            self._garbled(shares, vectors)
            transcript = hashlib.sha256(digests[0].digest() + digests[1].digest()).digest()
            channel.send(Kind.CLAIM, batch_id, transcript, op=OUTPUT)
            if channel.receive(Kind.CLAIM, CLAIM, op=OUTPUT).tobytes() != batch_id + transcript:
                raise SessionError("the parties saw different preparations", "connect again")
        return batch_id, Prepared(r0, vectors, shares.values[self.plan.output], transcript, phase)

    def _linear_shares(self, r0: Ring, vectors: dict[Step, list[ClientVector]]) -> Shares:
        """The client's share of every value: masks where it is fresh, W r - s where the server answers."""
        program = self._program
        shares, answers = Shares(program, r0), dict[str, Ring]()
        operands: dict[str, Ring] = {}

        def linear(name: str, operand: Ring) -> Ring | None:
            operands[name] = operand
            return answers.get(name)

        for wave in [*program.waves, []]:
            self._walk(shares, vectors, linear)
            if wave:
                self._homomorphic(wave, operands, answers)
        return shares

    def _walk(
        self,
        shares: Shares,
        vectors: dict[Step, list[ClientVector]],
        linear: Callable[[str, Ring], Ring | None],
    ) -> None:
        """Everything that can be known so far. A re-sharing op's result does not wait for its operand."""
        program = self._program
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
        channel, he, program = self._channel, self._keys.he, self._program
        failure: list[BaseException] = []

        def upload() -> None:
            try:
                for name in wave:
                    for image in operands[name]:
                        for content in encrypted_input(self._layouts[name], image, he, self._threads):
                            channel.send(Kind.UPLOAD, content, op=name, background=True)
            except BaseException as error:
                failure.append(error)
                channel.close()  # wakes the receiving thread

        uploader = threading.Thread(target=upload, daemon=True)
        channel.meter.turn()
        uploader.start()
        try:
            for name in wave:
                layout = self._layouts[name]
                with channel.meter.op(name):
                    images = []
                    for _ in range(program.batch):
                        image = Decrypted(layout)
                        for first, count, size in layout.response_frames():
                            image.add(he, first, count, channel.receive(Kind.RESPONSE, size, op=name), self._threads)
                        images.append(image.output())
                    answers[name] = np.stack(images).reshape(program.batch, *program.shapes[name])
        except SessionError:
            if failure:
                raise failure[0] from None
            raise
        uploader.join()
        if failure:
            raise failure[0]

    def _garbled(self, shares: Shares, vectors: dict[Step, list[ClientVector]]) -> None:
        """Choices up, garbled material down, products up; all vectors at once."""
        channel, keys = self._channel, self._keys
        order = [(step, v, pad(operand)) for step, v, operand in self._operands(shares, vectors)]
        failure: list[BaseException] = []
        for _, v, operand in order:
            for chunk in v.vector.chunks:
                if not chunk.choices:
                    v.choose(chunk, part(operand, chunk), keys.ot)

        def choose() -> None:
            try:
                for step, v, operand in order:
                    for chunk in v.vector.chunks:
                        if chunk.choices:
                            content = v.choose(chunk, part(operand, chunk), keys.ot)
                            channel.send(Kind.CHOICES, content, op=step.op, background=True)
            except BaseException as error:
                failure.append(error)
                channel.close()

        chooser = threading.Thread(target=choose, daemon=True)
        channel.meter.turn()
        chooser.start()
        products: list[tuple[str, Any]] = []
        try:
            for index, (step, v, _) in enumerate(order):
                self._progress("garbled material", index, len(order))
                with channel.meter.op(step.op):
                    for chunk in v.vector.chunks:
                        content = channel.receive(Kind.GARBLED, chunk.garbled, op=step.op)
                        answer = v.receive_garbled(chunk, content, keys.reverse)
                        if chunk.products:
                            products.append((step.op, answer))
        except SessionError:
            if failure:
                raise failure[0] from None
            raise
        chooser.join()
        if failure:
            raise failure[0]
        for op, content in products:
            channel.send(Kind.PRODUCTS, content, op=op)

    def _operands(
        self, shares: Shares, vectors: dict[Step, list[ClientVector]]
    ) -> Iterator[tuple[Step, ClientVector, Ring]]:
        """Every vector with the client's share of its operand, in the order of the schedule."""
        program = self._program
        again = Shares(program, shares.values[INPUT])  # a second walk, now that all answers are there
        linear = shares.values.get
        again.settle(lambda name, _: linear(name))
        for level in program.levels:
            for step in level:
                for v, operand in zip(vectors[step], again.operands(step), strict=True):
                    yield step, v, operand
                again.results(step, [v.mask[: v.vector.elements] for v in vectors[step]])
            again.settle(lambda name, _: linear(name))

    # --- online ------------------------------------------------------------------------------------------------------

    def _predict(self, batch_id: bytes, material: Prepared, x: NDArray[np.int64]) -> NDArray[np.int64]:
        program, channel, ring_bits = self._program, self._channel, self.plan.ring.ring_bits
        run = Run(material.offline)
        with channel.meter.phase(run.online):
            with channel.meter.op(INPUT):
                masked = (x.view(np.uint64) - material.input_mask) & program.mask
                content = _core.pack(np.ascontiguousarray(masked).reshape(-1), ring_bits)
                channel.send(Kind.INPUT, batch_id, material.transcript, content, op=INPUT)
            for done, level in enumerate(program.levels):
                self._progress("predict", done, len(program.levels))
                answers = []
                for step in level:
                    with channel.meter.op(step.op):
                        for v in material.vectors[step]:
                            for chunk in v.vector.chunks:
                                labels = channel.receive(Kind.LABELS, chunk.labels, op=step.op)
                                answers.append((step.op, v.answer(chunk, labels, self._threads)))
                for op, content in answers:
                    with channel.meter.op(op):
                        channel.send(Kind.ANSWERS, content, op=op)
            with channel.meter.op(OUTPUT):
                count = material.output_share.size
                content = channel.receive(Kind.RESULT, bits_to_bytes(count * ring_bits), op=OUTPUT)
                server = _core.unpack(content, count, ring_bits).reshape(material.output_share.shape)
        self.runs.append(run)
        self._progress("predict", len(program.levels), len(program.levels))
        return wrap((server + material.output_share).view(np.int64), ring_bits)


def _connect(host: str, port: int, tls: ssl.SSLContext | None, server_name: str | None, timeout_s: float) -> Stream:
    try:
        sock = socket.create_connection((host, port), timeout_s)
        if tls is None:
            return TcpStream(sock, timeout_s)
        return TlsStream(sock, tls, timeout_s, server_name=server_name or host)
    except ssl.SSLError as error:
        raise SessionError(f"TLS with {host}:{port} failed: {error}", "check the certificates on both sides") from None
    except OSError as error:
        raise SessionError(f"cannot connect to {host}:{port}: {error}", "is the server running there?") from None
