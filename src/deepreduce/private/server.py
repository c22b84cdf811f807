"""The server: holds the weights, computes the answer, sees neither image nor answer. One thread per session."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from math import prod
from types import TracebackType
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingError
from ..plan import Plan, check_weights, predict, validate
from ..plan.infer import shapes
from ..plan.messages import Protocol
from ..plan.packing import bits_to_bytes
from .hello import MAX_BATCH, ClientHello, LimitError
from .linear import server_linears
from .meter import Run
from .program import Program, compile_plan
from .session import Session
from .settings import MAX_THREADS, check_between, check_seconds, check_token
from .streams import TcpStream, TlsStream, checked_context
from .transport import Channel, Stream

log = logging.getLogger("deepreduce.server")
FRAME_LIMIT = 1 << 32  # bytes that a frame's header can announce


class Server:
    """Serves one plan with its weights: `listen`, then `serve_forever` or `start`; a context manager.

    ``threads``: of each session. ``tls``: an `ssl.SSLContext` (`deepreduce.private.server_context`), or None for plain
    TCP, for tests only. ``token``: what clients must show before they learn anything. ``timeout_s``: how long a client
    may be silent in the middle of something, ``idle_s``: between requests. ``max_sessions``, ``max_prepared`` (a
    session's), ``max_prepared_bytes`` (all sessions' together, as predicted): limits. ``on_run`` is called with what
    each inference cost this side, from its session's thread.

    Raises `PlanError` when the weights do not fit the plan or the homomorphic parameters, `SettingError`.
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
        max_sessions: int = 64,
        max_prepared: int = 64,
        max_prepared_bytes: int = 1 << 33,
        on_run: Callable[[Run], None] | None = None,
    ) -> None:
        check_between("threads", threads, 1, MAX_THREADS)
        check_between("max_sessions", max_sessions, 1, 1 << 16)
        check_between("max_prepared", max_prepared, 1, 1 << 20)
        check_between("max_prepared_bytes", max_prepared_bytes, 1, 1 << 62)
        check_seconds("timeout_s", timeout_s)
        check_seconds("idle_s", idle_s)
        check_token(token)
        if tls is not None:
            checked_context(tls, server_side=True)
        if not isinstance(plan, Plan):
            raise SettingError(f"the plan is a {type(plan).__name__}", "read it with deepreduce.plan.read_plan")
        validate(plan)
        arrays = {name: np.asarray(value) for name, value in weights.items()}
        check_weights(plan, arrays)
        started = time.perf_counter()
        self.plan, self.threads, self.token, self.idle_s = plan, threads, token, idle_s
        self.linears = server_linears(plan, arrays, threads)
        self.setup_s = time.perf_counter() - started
        self.closed = False
        self._tls, self._timeout_s, self._max_sessions = tls, timeout_s, max_sessions
        self._max_prepared, self._max_prepared_bytes = max_prepared, max_prepared_bytes
        self._on_run = on_run
        # Of one image; a batch takes as many times that. A client's hello must not set off the work of predicting.
        self._stored = {name: predict(plan, name, 1).total.stored_bytes_server for name in get_args(Protocol)}
        self._largest = max(prod(plan.input_shape), prod(shapes(plan)[plan.output]))
        self._reserved = 0
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._compiled = functools.lru_cache(8)(lambda protocol, batch: compile_plan(plan, protocol, batch))

    def listen(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Opens the port (0: any free one) and returns its number."""
        check_between("port", port, 0, 65535)
        try:
            self._listener = socket.create_server((host, port))
        except (OSError, OverflowError) as error:
            raise SettingError(f"cannot listen on {host}:{port}: {error}", "choose another address or port") from None
        bound: int = self._listener.getsockname()[1]
        return bound

    def serve_forever(self) -> None:
        """Accepts sessions, each in a thread of its own, until `close`."""
        listener = self._listening()
        while not self.closed:
            try:
                sock, address = listener.accept()
            except OSError as error:
                if not self.closed:  # out of descriptors, or a client that has left already
                    log.warning("cannot accept: %s", error)
                    time.sleep(0.1)
                continue
            try:
                self._begin(sock, str(address[0]))
            except RuntimeError as error:  # out of threads
                log.warning("cannot serve %s: %s", address[0], error)
                self._end(sock)

    def start(self) -> threading.Thread:
        """`serve_forever` in a thread."""
        self._listening()
        thread = threading.Thread(target=self.serve_forever, daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Ends all sessions. Their threads close their sockets; here they are only woken."""
        with self._guard:
            self.closed = True
            for sock in (*self._sockets, *([self._listener] if self._listener else [])):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        if self._listener is not None:
            self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- for sessions ------------------------------------------------------------------------------------------------

    def program(self, hello: ClientHello) -> Program:
        """The program for what the client asked."""
        program: Program = self._compiled(hello.protocol, hello.batch)
        return program

    def most_prepared(self, hello: ClientHello) -> int:
        """Preparations that one client may hold; 0: what it asks for is too large."""
        if not 1 <= hello.batch <= MAX_BATCH or hello.protocol not in self._stored:
            return 0
        if bits_to_bytes(hello.batch * self._largest * self.plan.ring.ring_bits) + (1 << 10) > FRAME_LIMIT:
            return 0
        return min(self._max_prepared, self._max_prepared_bytes // self._each(hello.protocol, hello.batch))

    def reserve(self, program: Program) -> None:
        """Books the memory of one preparation. Raises `LimitError` when there is none."""
        each = self._each(program.protocol, program.batch)
        with self._guard:
            if self._reserved + each > self._max_prepared_bytes:
                raise LimitError(f"{self._max_prepared_bytes} bytes of prepared material are taken by all clients")
            self._reserved += each

    def release(self, program: Program, count: int) -> None:
        """Gives it back."""
        with self._guard:
            self._reserved -= count * self._each(program.protocol, program.batch)

    def on_run(self, run: Run) -> None:
        """Takes what an inference cost."""
        if self._on_run is not None:
            self._on_run(run)

    def _each(self, protocol: Protocol | str, batch: int) -> int:
        return max(1, self._stored[protocol] * batch)

    def _listening(self) -> socket.socket:
        if self._listener is None:
            raise SettingError("the server does not listen yet", "call listen() first")
        return self._listener

    def _begin(self, sock: socket.socket, address: str) -> None:
        with self._guard:
            if self.closed or len(self._sockets) >= self._max_sessions:
                log.warning("%s: turned away, %d sessions are open", address, len(self._sockets))
                sock.close()
                return
            self._sockets.add(sock)
        threading.Thread(target=self._session, args=(sock, address), daemon=True).start()

    def _session(self, sock: socket.socket, address: str) -> None:
        try:
            stream: Stream = (
                TcpStream(sock, self._timeout_s)
                if self._tls is None
                else TlsStream(sock, self._tls, self._timeout_s, server_name=None)
            )
            Session(self, Channel(stream, "client", self._timeout_s), address).run()
        except OSError as error:  # ssl.SSLError is one
            if not self.closed:
                log.warning("%s: TLS failed: %s", address, getattr(error, "reason", None) or type(error).__name__)
        finally:
            self._end(sock)

    def _end(self, sock: socket.socket) -> None:
        with self._guard:
            self._sockets.discard(sock)
        sock.close()
