"""Resources that the sessions of one server share: plan, weights, limits, workers, store and access."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from threading import Lock
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import SettingError
from ...plan import Plan, check_weights, encode, predict, shapes, validate, weights_digest
from ...plan.execution.messages import Protocol
from ...plan.execution.packing import bits_to_bytes
from ..access.access import Access
from ..access.audit_log import AuditLog
from ..access.tokens import TokenFile
from ..access.usage_ledger import UsageLedger
from ..identity import peer_of, peers_of
from ..protocol.linear import OfflineLinear, computation, offline_linears, online_linears
from ..protocol.program import Program, compile_plan
from ..protocol.server_offline import LocalOffline, Offline
from ..store import Purpose, ServerStore
from ..store.encrypted_file import expected_bytes
from ..store.store import STATE
from ..transport.channel import Channel
from ..transport.handshake import MAX_BATCH, VERSION, ClientHello, LimitError, ServerHello
from ..transport.meter import Run
from .admission import QUEUE_S, AdmissionQueue
from .events import EventObserver, Name, emit
from .limits import MemoryBudget, RateLimit
from .material_pool import ServerMemoryPool, ServerPool, ServerStoredPool
from .settings import ServerSettings
from .workers.fork_server import ForkServer, ForkServerClient
from .workers.remote import RemoteOffline

BEGUN = 8  # admitted preparations per compute worker
FRAME_LIMIT = 1 << 32  # bytes that a frame's header can announce


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of one session: the program that its client asked for, where its material is kept, and how much."""

    program: Program
    pool: ServerPool
    most_prepared: int
    answer: ServerHello
    client: str  # names the client in the log; says nothing about its identity
    each: int  # bytes of one preparation, predicted


class ServerResources:
    """The resources of one server, shared by its sessions' threads.

    ``stopping``: the server accepts no more requests. Raises `PlanError` when the weights do not fit the plan or the
    homomorphic parameters, `SettingError`, `StoreError`.
    """

    def __init__(
        self,
        plan: Plan,
        weights: Mapping[str, NDArray[Any]],
        settings: ServerSettings,
        fork_server: ForkServer | ForkServerClient | None,
        store_lock: int | None,
        on_run: Callable[[Run], None] | None,
        observers: Sequence[EventObserver],
    ) -> None:
        if not isinstance(plan, Plan):
            raise SettingError(f"the plan is a {type(plan).__name__}", "read it with deepreduce.plan.read_plan")
        validate(plan)
        arrays = {name: np.asarray(value) for name, value in weights.items()}
        check_weights(plan, arrays)
        self.plan, self.settings, self.stopping, self._closed = plan, settings, False, False
        self.plan_bytes = encode(plan)
        self.plan_digest = hashlib.sha256(self.plan_bytes).hexdigest()
        self.weights_digest = weights_digest(arrays)  # for the operator: clients are never told
        self._on_run, self._observers = on_run, tuple(observers)
        self._prepare_weights(arrays, fork_server)
        self._predict_sizes()
        # Material is for these weights: under others the same shares would give another answer, and more than that.
        self._computation = computation(self.plan_digest, arrays)
        self.store: ServerStore | None = None
        try:
            self.store = self._open_store(store_lock)
            self._identity = os.urandom(16).hex() if self.store is None else self.store.identity(self._computation)
            self.access = self._open_access()
        except BaseException:
            self.close()
            raise

    def _prepare_weights(
        self, arrays: dict[str, NDArray[Any]], fork_server: ForkServer | ForkServerClient | None
    ) -> None:
        started = time.perf_counter()
        threads, workers = self.settings.threads, self.settings.workers
        self.linears = online_linears(self.plan, arrays)
        self._fork_server = fork_server
        self._offline_linears: dict[str, OfflineLinear] = {}
        if workers and fork_server is None:
            self._fork_server = ForkServer(self.plan, arrays, threads, self.settings.weight_bytes)
        elif not workers:
            from ..protocol.base_ot import check_supported  # libsodium is for those who prepare

            check_supported()
            self._offline_linears = offline_linears(self.plan, arrays, threads, self.settings.weight_bytes)
        self._slots = AdmissionQueue(
            workers * BEGUN or self.settings.max_sessions, workers or self.settings.max_sessions
        )
        self.setup_s = time.perf_counter() - started

    def _predict_sizes(self) -> None:
        """Predict what one image costs; a batch takes as many times that. A hello must not set off this work."""
        plan = self.plan
        predicted = {name: predict(plan, name, 1).total for name in get_args(Protocol)}
        self._stored = {name: total.stored_bytes_server for name, total in predicted.items()}
        self._offline_up = {name: total.offline.up_bytes for name, total in predicted.items()}
        self._largest = max(prod(plan.input_shape), prod(shapes(plan)[plan.output]))
        self._compiled = functools.lru_cache(8)(lambda protocol, batch: compile_plan(plan, protocol, batch))
        self._memory, self._rate = MemoryBudget(self.settings.max_prepared_bytes), RateLimit(self.settings.rate)
        self._held, self._guard = 0, Lock()

    def _open_store(self, lock: int | None) -> ServerStore | None:
        chosen = self.settings
        if chosen.store is None:
            return None
        most, each = chosen.max_stored_bytes, chosen.max_client_bytes
        return ServerStore(chosen.store, most, each, key=chosen.store_key, lock=lock)

    def _open_access(self) -> Access:
        chosen, state = self.settings, self.settings.state
        if state is None and self.store is not None:
            state = self.store.folder / STATE
        access = Access(
            token=chosen.token,
            tokens=None if chosen.tokens is None else TokenFile(chosen.tokens),
            certificates=chosen.certificates,
            quotas=chosen.quotas,
            ledger=UsageLedger(state),
            held=self._held_by,
            audit=None if chosen.audit is None else AuditLog(chosen.audit),
            computation=self._computation,
            plan=self.plan_digest,
        )
        try:
            access.ledger.describe(self._computation, self.plan.ring.ring_bits, self.plan_digest, self.weights_digest)
            own = sorted(chosen.quotas.own) or None
            digests = {"plan": self.plan_digest, "weights": self.weights_digest}
            access.note("started", **digests, by=access.means, own_quotas=own, **chosen.shown())
        except BaseException:
            access.close()
            raise
        return access

    @property
    def threads(self) -> int:
        """Threads of each session."""
        return self.settings.threads

    def close(self) -> None:
        """Close the store and the process that forks workers; `access` is closed by its owner, after its last note."""
        first = not self._closed
        self.stopping = self._closed = True
        if self.store is not None:
            self.store.close()
        if first and self._fork_server is not None:  # it stays known: a late session gets its error, not our threads
            self._fork_server.close()

    def terms(self, hello: ClientHello, identity: str) -> Terms:
        """Return what a client that was let in gets. Raises `LimitError` when it asks for too much."""
        each = self._each(hello)
        if each is None:
            raise LimitError(f"the client asked for protocol {hello.protocol!r:.20} and batches of {hello.batch}")
        keeps = self.store is not None and hello.keeps
        most = (
            min(self.settings.max_client_bytes, self.settings.max_stored_bytes) // expected_bytes(each)
            if keeps
            else self.settings.max_prepared
        )
        most = min(most, self.settings.max_prepared_bytes // each if not keeps else 1 << 20)
        if most < 1 or each > self.settings.max_prepared_bytes:
            raise LimitError(f"one preparation of {each} bytes is more than a limit")
        program: Program = self._compiled(hello.protocol, hello.batch)
        client = hashlib.sha256(b"deepreduce client" + bytes.fromhex(hello.identity)).hexdigest()
        pool: ServerPool = ServerMemoryPool()
        if self.store is not None and keeps:
            purpose = Purpose(peer_of(identity, client), self._computation, hello.protocol, hello.batch)
            pool = ServerStoredPool(self.store, purpose, program, self.threads)
        metered = self.access.quotas.of(identity).metered
        answer = ServerHello(VERSION, self.plan_digest, self.plan.parameter_set, most, self._identity, keeps, metered)
        return Terms(program, pool, most, answer, client[:12], each)

    def admits(self, address: str) -> bool:
        """Book one more session or preparation of an address; return whether its rate allows it."""
        return self._rate.take(address)

    def not_admitted(self, address: str) -> None:
        """Give back what `admits` booked, for a client that found no place."""
        self._rate.give_back(address)

    def admit(self, address: str) -> None:
        """Books one more preparation of an address. Raises `LimitError` when they come too fast."""
        if not self.admits(address):
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
        """Return a place for one more preparation. Raises `BusyError` when there is none for long."""
        return self._slots.place(min(QUEUE_S, self.settings.timeout_s / 2))

    def offline(self, program: Program, channel: Channel) -> Offline:
        """Return what a session prepares with. Raises `WorkerError`."""
        if self._fork_server is None:
            return LocalOffline(program, self._offline_linears, channel, self.threads)
        worker = self._fork_server.worker(program.protocol, program.batch)
        return RemoteOffline(program, channel, worker, self.threads, self._slots.computing)

    def offline_bytes(self, program: Program) -> int:
        """Return the least number of bytes that a client sends for one preparation."""
        return program.batch * self._offline_up[program.protocol] + (1 << 20)

    def ready(self) -> int:
        """Preparations in memory and in the store."""
        return self._held + (0 if self.store is None or self._closed else self.store.ready())

    def stored_bytes(self) -> int:
        """Return the size of the store's files in bytes."""
        return 0 if self.store is None or self._closed else self.store.bytes_used()

    def emit(self, name: Name, **fields: Any) -> None:
        """Tells the operator."""
        emit(name, self._observers, **fields)

    def on_run(self, run: Run) -> None:
        """Takes what an inference cost."""
        if self._on_run is not None:
            self._on_run(run)

    def _held_by(self, identity: str) -> tuple[int, int]:
        """Batches in the store, and their bytes."""
        return (0, 0) if self.store is None or self._closed else self.store.held(*peers_of(identity))

    def _each(self, hello: ClientHello) -> int | None:
        """Bytes of one preparation, predicted; None: no such thing."""
        if not 1 <= hello.batch <= MAX_BATCH or hello.protocol not in self._stored:
            return None
        if bits_to_bytes(hello.batch * self._largest * self.plan.ring.ring_bits) + (1 << 10) > FRAME_LIMIT:
            return None
        return max(1, self._stored[hello.protocol] * hello.batch)
