"""The server: holds the weights, computes the answer, sees neither image nor answer.

One thread per session. What a client does not need to know stays here; what goes wrong goes to the log as a fixed text
and to the client as a fixed code.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import SessionError, SettingError
from ..plan import OUTPUT, Plan, check_weights, validate
from ..plan.cost import BATCH_ID, CLAIM, predict
from ..plan.packing import bits_to_bytes
from ..plan.schedule import Step
from .hello import greet_client, server_keys
from .linear import add_uploads, server_linears
from .meter import Phase, Run
from .program import Program, Ring, Shares, compile_plan
from .roles import server_vector
from .streams import TcpStream, TlsStream
from .transport import Channel, Kind, Reason, Stream
from .vectors import ServerVector, pad, part

log = logging.getLogger("deepreduce.server")


@dataclass(slots=True)
class Prepared:
    """One-time material of one batch of images."""

    linear_masks: dict[str, Ring]  # s of every linear op, [batch, ...]
    vectors: dict[Step, list[ServerVector]]
    transcript: bytes
    offline: Phase


class Server:
    """Serves one plan with its weights.

    ``tls``: an `ssl.SSLContext` (`deepreduce.private.server_context`), or None for plain TCP, for tests only.
    ``token``: what clients must show before they learn anything. ``max_prepared`` and ``max_prepared_bytes``: how many
    preparations one session may hold, and their predicted size. ``on_run`` is called with what each inference cost this
    side, from its session's thread. Raises `PlanError` when the weights do not fit the plan or the homomorphic
    parameters.
    """

    def __init__(
        self,
        plan: Plan,
        weights: dict[str, NDArray[Any]],
        *,
        threads: int = 1,
        tls: ssl.SSLContext | None = None,
        token: str | None = None,
        timeout_s: float = 60.0,
        idle_s: float = 3600.0,
        max_prepared: int = 64,
        max_prepared_bytes: int = 1 << 32,
        on_run: Callable[[Run], None] | None = None,
    ) -> None:
        if threads < 1:
            raise SettingError(f"{threads} threads, at least 1 is needed")
        validate(plan)
        check_weights(plan, weights)
        started = time.perf_counter()
        self.plan = plan
        self._linears = server_linears(plan, weights, threads)
        self.setup_s = time.perf_counter() - started
        self._threads, self._tls, self._token = threads, tls, token
        self._timeout_s, self._idle_s = timeout_s, idle_s
        self._max_prepared, self._max_prepared_bytes = max_prepared, max_prepared_bytes
        self.on_run = on_run or (lambda run: None)
        self._listener: socket.socket | None = None
        self.closed = False
        self._sessions: set[Session] = set()
        self._guard = threading.Lock()

    def listen(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Opens the port (0: any free one) and returns its number."""
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise SettingError(f"cannot listen on {host}:{port}: {error}", "choose another address or port") from None
        bound: int = self._listener.getsockname()[1]
        return bound

    def serve_forever(self) -> None:
        """Accepts sessions, each in a thread of its own, until `close`."""
        if self._listener is None:
            raise SettingError("the server does not listen yet", "call listen() first")
        while True:
            try:
                sock, address = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._session, args=(sock, address), daemon=True).start()

    def start(self) -> threading.Thread:
        """`serve_forever` in a thread."""
        thread = threading.Thread(target=self.serve_forever, daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Ends all sessions."""
        self.closed = True
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        with self._guard:
            for session in self._sessions:
                session.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _session(self, sock: socket.socket, address: Any) -> None:
        try:
            stream: Stream = (
                TcpStream(sock, self._timeout_s)
                if self._tls is None
                else TlsStream(sock, self._tls, self._timeout_s, server_name=None)
            )
        except OSError as error:  # ssl.SSLError is one
            log.warning("TLS with %s failed: %s", address[0], type(error).__name__)
            sock.close()
            return
        session = Session(self, Channel(stream, "client"), sock)
        with self._guard:
            self._sessions.add(session)
        try:
            session.run(self._token, self._idle_s, self._timeout_s)
        finally:
            with self._guard:
                self._sessions.discard(session)

    @property
    def linears(self) -> Any:
        """The linear ops, ready for both phases."""
        return self._linears

    @property
    def threads(self) -> int:
        """Threads per session."""
        return self._threads

    def most_prepared(self, program: Program) -> int:
        """Preparations of this kind that one session may hold."""
        each = predict(program.plan, program.protocol, program.batch).total.stored_bytes_server
        return min(self._max_prepared, self._max_prepared_bytes // max(1, each))


class Session:
    """One client's connection."""

    def __init__(self, server: Server, channel: Channel, sock: socket.socket) -> None:
        self.channel = channel
        self.runs: list[Run] = []
        self._server, self._socket = server, sock
        self._prepared: OrderedDict[bytes, Prepared] = OrderedDict()

    def run(self, token: str | None, idle_s: float, timeout_s: float) -> None:
        """Serves until the client leaves or something is wrong; never raises."""
        try:
            hello = greet_client(self.channel, self._server.plan, token)
            self._program = compile_plan(self._server.plan, hello.protocol, hello.batch)  # type: ignore[arg-type]
            self._most = self._server.most_prepared(self._program)
            self._keys = server_keys(self.channel, self._server.plan)
            while self._serve_one(idle_s, timeout_s):
                pass
        except (SessionError, OSError) as error:
            if not self._server.closed:  # which ends sessions under their feet
                log.warning("session ended: %s", error)
            self.channel.fail(Reason.MALFORMED)
        except ValueError as error:
            log.warning("session ended, the client sent what cannot be used: %s", error)
            self.channel.fail(Reason.MALFORMED)
        except Exception as error:  # a fault of ours must not take the server down
            log.error("session failed: %s", type(error).__name__, exc_info=log.isEnabledFor(logging.DEBUG))
            self.channel.fail(Reason.INTERNAL)
        finally:
            self._prepared.clear()
            self.channel.close()

    def _serve_one(self, idle_s: float, timeout_s: float) -> bool:
        """One request; False when the client has left."""
        ring_bits, count = self._server.plan.ring.ring_bits, self._program.batch * prod(self._server.plan.input_shape)
        image_bytes = bits_to_bytes(count * ring_bits)
        self._socket.settimeout(idle_s)
        kind, content = self.channel.receive_any({Kind.PREPARE: BATCH_ID, Kind.INPUT: CLAIM + image_bytes, Kind.BYE: 0})
        self._socket.settimeout(timeout_s)
        if kind == Kind.BYE:
            return False
        batch_id = content[:BATCH_ID].tobytes()
        if kind == Kind.PREPARE:
            if batch_id in self._prepared or len(self._prepared) >= self._most:
                self.channel.fail(Reason.LIMIT)
                raise SessionError(f"the client asked for more than {self._most} preparations, or for one twice")
            self._prepared[batch_id] = self._prepare(batch_id)
            return True
        material = self._prepared.pop(batch_id, None)  # gone before its first byte is sent
        if material is None or material.transcript != content[BATCH_ID:CLAIM].tobytes():
            self.channel.fail(Reason.BATCH)
            raise SessionError("the client named a batch that is not prepared, or was prepared differently")
        operand = _core.unpack(content[CLAIM:], count, ring_bits).reshape(
            self._program.batch, *self._server.plan.input_shape
        )
        self._predict(material, operand)
        return True

    # --- offline -----------------------------------------------------------------------------------------------------

    def _prepare(self, batch_id: bytes) -> Prepared:
        program, channel, threads = self._program, self.channel, self._server.threads
        phase = Phase()
        vectors = {
            step: [server_vector(p.vector, threads) for p in program.parts[step]]
            for level in program.levels
            for step in level
        }
        with channel.meter.phase(phase), channel.transcript() as digests:
            masks = {name: self._respond(name) for wave in program.waves for name in wave}
            self._garble(vectors)
            transcript = hashlib.sha256(digests[1].digest() + digests[0].digest()).digest()
            if channel.receive(Kind.CLAIM, CLAIM, op=OUTPUT).tobytes() != batch_id + transcript:
                raise SessionError("the parties saw different preparations")
            channel.send(Kind.CLAIM, batch_id, transcript, op=OUTPUT)
        return Prepared(masks, vectors, transcript, phase)

    def _respond(self, name: str) -> Ring:
        """Answers one linear op's encrypted shares, image after image; returns its masks s [batch, ...]."""
        channel, program, threads = self.channel, self._program, self._server.threads
        linear, shape = self._server.linears[name], program.shapes[name]
        masks: Ring = _core.random_ring(program.batch * prod(shape), program.plan.ring.ring_bits)
        masks = masks.reshape(program.batch, -1)
        each = _core.he_parameters(program.plan.ring.ring_bits)["upload_bytes"]
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

    def _garble(self, vectors: dict[Step, list[ServerVector]]) -> None:
        channel, keys, program = self.channel, self._keys, self._program
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

    def _predict(self, material: Prepared, operand: Ring) -> None:
        program, channel, threads = self._program, self.channel, self._server.threads
        run = Run(material.offline)
        shares = Shares(program, operand)

        def linear(name: str, x: Ring) -> Ring:
            with channel.meter.op(name):
                y: Ring = self._server.linears[name].apply(x, material.linear_masks[name], threads)
                return y

        with channel.meter.phase(run.online):
            shares.settle(linear)
            for level in program.levels:
                sent = []
                for step in level:
                    with channel.meter.op(step.op):
                        for v, flat in zip(material.vectors[step], shares.operands(step), strict=True):
                            b = pad(flat)
                            sent.append((step, v, b))
                            for chunk in v.vector.chunks:
                                channel.send(Kind.LABELS, v.labels(chunk, part(b, chunk), threads), op=step.op)
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
                shares.settle(linear)
            with channel.meter.op(OUTPUT):
                answer = np.ascontiguousarray(shares.values[program.plan.output]).reshape(-1)
                channel.send(Kind.RESULT, _core.pack(answer, program.plan.ring.ring_bits), op=OUTPUT)
        self.runs.append(run)
        self._server.on_run(run)
