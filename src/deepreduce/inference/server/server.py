"""The server: holds the weights, computes the answer, sees neither image nor answer. One thread per session."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import SettingError
from ...plan import Plan, check_weights, encode, predict, validate
from ...plan.execution.messages import Protocol
from ...plan.execution.packing import bits_to_bytes
from ...plan.shapes import shapes
from ..access.access import Access, shown_quota
from ..access.audit_log import Audit
from ..access.quota import Quotas
from ..access.tokens import TokenFile
from ..access.usage_ledger import Ledger
from ..identity import peer_of, peers_of
from ..protocol.linear import computation, offline_linears, online_linears
from ..protocol.program import Program, compile_plan
from ..protocol.server_offline import LocalOffline, Offline
from ..settings import MAX_THREADS, check_between, check_seconds, check_token
from ..store import Purpose, ServerStore
from ..store.store import STATE
from ..transport.channel import Channel, Reason
from ..transport.handshake import MAX_BATCH, VERSION, ClientHello, LimitError, ServerHello
from ..transport.meter import Run
from ..transport.streams import TcpStream, TlsStream, checked_context
from .admission import QUEUE_S, Slots
from .events import Name, Observer, emit, log
from .limits import RETRY_S, Memory, Rate
from .material_pool import ServerMemory, ServerShelf, ServerStored
from .resources import Terms
from .session import Session
from .workers.fork_server import Nursery, Ordered, RemoteOffline

BEGUN = 8  # preparations under way for each that computes
FRAME_LIMIT = 1 << 32  # bytes that a frame's header can announce
BACKLOG = 256  # connections that wait to be accepted
SHARED_S = 0.25  # between looks whether to stop, where accepting cannot be interrupted
YIELD_S, FULL_S = 0.001, 0.05  # for each session, and by whom has no room: so long others may accept first
TURNED_AWAY = 64  # clients at a time that are told why they are not served
SETTLE_S = 0.25  # for requests that are under way when the server is stopped
CLOSING_S = 2.0  # for threads of sessions to end by themselves


class Server:
    """Serves one plan with its weights: `listen`, then `serve_forever` or `start`; a context manager.

    ``threads``: of each session. ``tls``: an `ssl.SSLContext` (`deepreduce.inference.server_context`), or None for
    plain TCP, for tests only. ``token``: what clients must show before they learn anything; ``tokens``: a file with the
    names of many clients and the hashes of theirs (`deepreduce.inference.access.tokens`). ``timeout_s``: how long a
    client may be silent in the middle of something, ``idle_s``: between requests.

    ``workers``: preparations that compute at once, each in a process of its own at low priority; 0: in the sessions'
    threads. The processes are forked from a ``nursery`` (`private.nursery`), by default one of this server's own.

    ``store``: a folder for what clients with a store prepare, so that it outlives connections and this process;
    ``store_key``: a file with the key that locks it, None: the user's (docs/service.md); ``store_lock``: its lock,
    inherited, where several processes share it (`private.supervisor`). Limits:
    ``max_sessions``; ``max_prepared`` (a session's, in memory), ``max_prepared_bytes`` (all sessions' together, as
    predicted), ``max_stored_bytes`` and ``max_client_bytes`` (the store's, all clients' and each one's), ``rate`` (new
    sessions and preparations of one address per minute; None: any number).

    ``quotas``: what each identity may use (`deepreduce.inference.access.quota`), counted in the folder ``state`` (the
    store's, if it is None), which several servers of one machine may share. ``audit``: a file for who did what, when
    (`deepreduce.inference.access.audit_log`).

    ``on_run`` is called with what each inference cost this side, ``observers`` with every event
    (`deepreduce.inference.server.events`), both from the session's thread.

    Raises `PlanError` when the weights do not fit the plan or the homomorphic parameters, `SettingError`, `StoreError`.
    """

    def __init__(
        self,
        plan: Plan,
        weights: Mapping[str, NDArray[Any]],
        *,
        threads: int = 1,
        workers: int = 0,
        nursery: Nursery | Ordered | None = None,
        tls: ssl.SSLContext | None = None,
        token: str | None = None,
        tokens: Path | str | None = None,
        quotas: Quotas | None = None,
        state: Path | str | None = None,
        audit: Path | str | None = None,
        timeout_s: float = 60.0,
        idle_s: float = 3600.0,
        max_sessions: int = 64,
        max_prepared: int = 64,
        max_prepared_bytes: int = 1 << 33,
        store: Path | str | None = None,
        store_key: Path | str | None = None,
        store_lock: int | None = None,
        max_stored_bytes: int = 1 << 36,
        max_client_bytes: int = 1 << 32,
        rate: float | None = None,
        on_run: Callable[[Run], None] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        check_between("threads", threads, 1, MAX_THREADS)
        check_between("workers", workers, 0, MAX_THREADS)
        check_between("max_sessions", max_sessions, 1, 1 << 16)
        check_between("max_prepared", max_prepared, 1, 1 << 20)
        for name, value in (("max_prepared_bytes", max_prepared_bytes), ("max_stored_bytes", max_stored_bytes)):
            check_between(name, value, 1, 1 << 62)
        check_between("max_client_bytes", max_client_bytes, 1, 1 << 62)
        check_seconds("timeout_s", timeout_s)
        check_seconds("idle_s", idle_s)
        check_token(token)
        if rate is not None and not (isinstance(rate, int | float) and 0 < rate < float("inf")):
            raise SettingError(f"rate is {rate!r:.40}", "a positive number per minute is needed, or None")
        if tls is not None:
            checked_context(tls, server_side=True)
        if not isinstance(plan, Plan):
            raise SettingError(f"the plan is a {type(plan).__name__}", "read it with deepreduce.plan.read_plan")
        validate(plan)
        arrays = {name: np.asarray(value) for name, value in weights.items()}
        check_weights(plan, arrays)
        started = time.perf_counter()
        self.plan, self.threads, self.idle_s = plan, threads, idle_s
        self.plan_bytes = encode(plan)
        self.plan_digest = hashlib.sha256(self.plan_bytes).hexdigest()
        self.linears = online_linears(plan, arrays)
        self._nursery, self._offline_linears = nursery, {}
        if workers and nursery is None:
            self._nursery = Nursery(plan, arrays, threads)
        elif not workers:
            self._offline_linears = offline_linears(plan, arrays, threads)
        self._slots = Slots(workers * BEGUN if workers else max_sessions, workers or max_sessions)
        self.setup_s = time.perf_counter() - started
        self.stopping = self.closed = self._shared = False
        self._tls, self._timeout_s, self._max_sessions = tls, timeout_s, max_sessions
        self._max_prepared, self._max_prepared_bytes = max_prepared, max_prepared_bytes
        self._max_client_bytes = min(max_client_bytes, max_stored_bytes)
        self._memory, self._rate = Memory(max_prepared_bytes), Rate(rate)
        self._on_run, self._observers = on_run, tuple(observers)
        # Of one image; a batch takes as many times that. A client's hello must not set off the work of predicting.
        predicted = {name: predict(plan, name, 1).total for name in get_args(Protocol)}
        self._stored = {name: total.stored_bytes_server for name, total in predicted.items()}
        self._offline_up = {name: total.offline.up_bytes for name, total in predicted.items()}
        self._largest = max(prod(plan.input_shape), prod(shapes(plan)[plan.output]))
        self._held = self._count = self._leaving = 0
        self._listener: socket.socket | None = None
        self._sockets: dict[socket.socket, Session | None] = {}
        self._guard = threading.Lock()
        self._compiled = functools.lru_cache(8)(lambda protocol, batch: compile_plan(plan, protocol, batch))
        self.store = (
            None
            if store is None
            else ServerStore(store, max_stored_bytes, max_client_bytes, key=store_key, lock=store_lock)
        )
        # Material is for these weights: under others the same shares would give another answer, and more than that.
        self._computation = computation(self.plan_digest, arrays)
        self._identity = os.urandom(16).hex() if self.store is None else self.store.identity(self._computation)
        try:
            self.access = self._access(token, tokens, quotas or Quotas(), state, audit)
        except BaseException:
            if self.store is not None:
                self.store.close()
            raise

    def listen(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Opens the port (0: any free one) and returns its number."""
        check_between("port", port, 0, 65535)
        self._listener = listening(host, port)
        bound: int = self._listener.getsockname()[1]
        return bound

    def adopt(self, listener: int) -> int:
        """Takes over a descriptor that listens, which other processes accept from, too; returns its port."""
        self._listener, self._shared = socket.socket(fileno=listener), True
        self._listener.settimeout(SHARED_S)  # another process may be faster, and nobody may shut it down
        bound: int = self._listener.getsockname()[1]
        return bound

    def serve_forever(self) -> None:
        """Accepts sessions, each in a thread of its own, until `close`."""
        listener = self._listening()
        while not self.stopping:
            try:
                if self._shared:
                    self._let_others(listener)
                sock, address = listener.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if not self.stopping:  # out of descriptors, or a client that has left already
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

    def shutdown(self, grace_s: float = 30.0) -> None:
        """Stops accepting, tells idle clients, lets what is being computed finish for up to ``grace_s``, and closes."""
        self._stop_listening()
        emit("stopping", self._observers, sessions=len(self._sockets))
        deadline = time.monotonic() + grace_s
        time.sleep(min(SETTLE_S, grace_s))
        dismissed: set[socket.socket] = set()
        while time.monotonic() < deadline:
            with self._guard:
                open_sessions = dict(self._sockets)
            if not open_sessions:
                break
            for sock, session in open_sessions.items():
                if sock not in dismissed and (session is None or session.dismiss()):
                    dismissed.add(sock)
                    _wake(sock)
            time.sleep(0.02)
        self.close()

    def close(self) -> None:
        """Ends all sessions at once. Their threads close their sockets; here they are only woken."""
        first = not self.closed
        self.closed = True
        self._stop_listening()
        with self._guard:
            for sock in self._sockets:
                _wake(sock)
        deadline = time.monotonic() + CLOSING_S
        while self._sockets and time.monotonic() < deadline:
            time.sleep(0.005)
        if self.store is not None:
            self.store.close()
        if first and self._nursery is not None:
            self._nursery.close()
        if first:
            self.access.note_only("stopped", plan=self.plan_digest)
            emit("stopped", self._observers, audit=self.access.audit_head)
        self.access.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- for sessions ------------------------------------------------------------------------------------------------

    def terms(self, hello: ClientHello, identity: str) -> Terms:
        """What a client that was let in gets. Raises `LimitError` when it asks for too much."""
        each = self._each(hello)
        if each is None:
            raise LimitError(f"the client asked for protocol {hello.protocol!r:.20} and batches of {hello.batch}")
        keeps = self.store is not None and hello.keeps
        # A file has an index besides what is predicted.
        most = self._max_client_bytes // (each + each // 50 + (1 << 16)) if keeps else self._max_prepared
        most = min(most, self._max_prepared_bytes // each if not keeps else 1 << 20)
        if most < 1 or each > self._max_prepared_bytes:
            raise LimitError(f"one preparation of {each} bytes is more than a limit")
        program: Program = self._compiled(hello.protocol, hello.batch)
        client = hashlib.sha256(b"deepreduce client" + bytes.fromhex(hello.identity)).hexdigest()
        shelf: ServerShelf = ServerMemory()
        if self.store is not None and keeps:
            purpose = Purpose(peer_of(identity, client), self._computation, hello.protocol, hello.batch)
            shelf = ServerStored(self.store, purpose, program, self.threads)
        metered = self.access.quotas.of(identity).metered
        answer = ServerHello(VERSION, self.plan_digest, self.plan.parameter_set, most, self._identity, keeps, metered)
        return Terms(program, shelf, most, answer, client[:12], each)

    def admit(self, address: str) -> None:
        """Books one more preparation of an address. Raises `LimitError` when they come too fast."""
        if not self._rate.take(address):
            raise LimitError("the client's address prepares too often")

    def book(self, program: Program, count: int) -> None:
        """Books the memory of so many preparations, or gives it back (< 0). Raises `BusyError` when there is none."""
        size = count * max(1, self._stored[program.protocol] * program.batch)
        if size > 0:
            self._memory.book(size)
        else:
            self._memory.release(-size)
        with self._guard:
            self._held += count

    def place(self) -> AbstractContextManager[None]:
        """A place for one more preparation. Raises `BusyError` when there is none for long."""
        return self._slots.place(min(QUEUE_S, self._timeout_s / 2))

    def offline(self, program: Program, channel: Channel) -> Offline:
        """What a session prepares with. Raises `WorkerError`."""
        if self._nursery is None:
            return LocalOffline(program, self._offline_linears, channel, self.threads)
        worker = self._nursery.worker(program.protocol, program.batch)
        return RemoteOffline(program, channel, worker, self.threads, self._slots.computing)

    def offline_bytes(self, program: Program) -> int:
        """At least what a client sends for one preparation."""
        return program.batch * self._offline_up[program.protocol] + (1 << 20)

    def ready(self) -> int:
        """Preparations in memory and in the store."""
        return self._held + (0 if self.store is None or self.closed else self.store.ready())

    def stored_bytes(self) -> int:
        """Of the store's files."""
        return 0 if self.store is None or self.closed else self.store.bytes_used()

    def emit(self, name: Name, **fields: Any) -> None:
        """Tells the operator."""
        emit(name, self._observers, **fields)

    def on_run(self, run: Run) -> None:
        """Takes what an inference cost."""
        if self._on_run is not None:
            self._on_run(run)

    def _access(
        self,
        token: str | None,
        tokens: Path | str | None,
        quotas: Quotas,
        state: Path | str | None,
        audit: Path | str | None,
    ) -> Access:
        """Raises `SettingError`, `StoreError`."""
        if state is None and self.store is not None:
            state = self.store.folder / STATE
        if state is None and quotas.lasting:
            raise SettingError("a quota of predictions or preparations needs a folder that outlives the process",
                               "give the server a store or a folder for its state")  # fmt: skip
        token_file = None if tokens is None else TokenFile(tokens)
        log_file = None if audit is None else Audit(audit)
        asked = self._tls is not None and self._tls.verify_mode == ssl.CERT_REQUIRED
        access = Access(
            token=token,
            tokens=token_file,
            certificates=asked,
            quotas=quotas,
            ledger=Ledger(state),
            held=self._held_by,
            audit=log_file,
            computation=self._computation,
            plan=self.plan_digest,
        )
        access.note("started", plan=self.plan_digest, by=access.means, quota=shown_quota(quotas.default),
                    own_quotas=sorted(quotas.own) or None)  # fmt: skip
        return access

    def _held_by(self, identity: str) -> tuple[int, int]:
        """Batches in the store, and their bytes."""
        return (0, 0) if self.store is None or self.closed else self.store.held(*peers_of(identity))

    def _each(self, hello: ClientHello) -> int | None:
        """Bytes of one preparation, predicted; None: no such thing."""
        if not 1 <= hello.batch <= MAX_BATCH or hello.protocol not in self._stored:
            return None
        if bits_to_bytes(hello.batch * self._largest * self.plan.ring.ring_bits) + (1 << 10) > FRAME_LIMIT:
            return None
        return max(1, self._stored[hello.protocol] * hello.batch)

    def _let_others(self, listener: socket.socket) -> None:
        """Leaves a new client to processes with fewer sessions. Raises `TimeoutError` when there is none."""
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        if not poll.poll(1000 * SHARED_S):
            raise TimeoutError
        count = len(self._sockets)
        time.sleep(count * YIELD_S + (FULL_S if count >= self._max_sessions else 0.0))

    def _listening(self) -> socket.socket:
        if self._listener is None:
            raise SettingError("the server does not listen yet", "call listen() first")
        return self._listener

    def _stop_listening(self) -> None:
        self.stopping = True
        if self._listener is not None:
            if not self._shared:
                _wake(self._listener)
            self._listener.close()

    def _begin(self, sock: socket.socket, address: str) -> None:
        with self._guard:
            refused = None
            if len(self._sockets) >= self._max_sessions:
                refused = "sessions"
            elif not self._rate.take(address):
                refused = "rate"
            if self.stopping or (refused and self._leaving >= TURNED_AWAY):
                sock.close()
                return
            if refused:
                self._leaving += 1
            else:
                self._sockets[sock] = None
                self._count += 1
            number = self._count
        if refused:
            self.emit("refused", address=address, reason=refused)
            try:
                threading.Thread(target=self._turn_away, args=(sock, refused == "rate"), daemon=True).start()
            except RuntimeError:  # out of threads
                with self._guard:
                    self._leaving -= 1
                raise
        else:
            threading.Thread(target=self._session, args=(sock, address, number), daemon=True).start()

    def _turn_away(self, sock: socket.socket, rate: bool) -> None:
        """Says why, as far as the client listens."""
        try:
            with contextlib.suppress(OSError):
                timeout_s = min(5.0, self._timeout_s)
                channel = Channel(self._stream(sock, timeout_s), "client", timeout_s)
                channel.fail(Reason.LIMIT) if rate else channel.turn_away(RETRY_S)
        finally:
            with self._guard:
                self._leaving -= 1
            sock.close()

    def _session(self, sock: socket.socket, address: str, number: int) -> None:
        try:
            stream = self._stream(sock, self._timeout_s)
            channel = Channel(stream, "client", self._timeout_s)
            session = Session(self, channel, address, number, stream.certificate_name)
            self._sockets[sock] = session
            session.run()
        except OSError as error:  # ssl.SSLError is one
            if not self.stopping:
                text = getattr(error, "reason", None) or type(error).__name__
                self.access.refused(address, number, f"TLS: {text}")
                self.emit("refused", session=number, address=address, reason="tls", text=text)
        finally:
            self._end(sock)

    def _stream(self, sock: socket.socket, timeout_s: float) -> TcpStream | TlsStream:
        if self._tls is None:
            return TcpStream(sock, timeout_s)
        return TlsStream(sock, self._tls, timeout_s, server_name=None)

    def _end(self, sock: socket.socket) -> None:
        with self._guard:
            self._sockets.pop(sock, None)
        sock.close()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `SettingError`."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise SettingError(f"cannot listen on {host}:{port}: {error}", "choose another address or port") from None


def _wake(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
