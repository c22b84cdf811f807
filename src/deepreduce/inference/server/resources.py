"""Resources that the sessions of one server share: plans, limits, places, store and access."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from shutil import disk_usage
from typing import Any

from numpy.typing import NDArray

from ...errors import SessionError, SettingError
from ...plan import Plan
from ..access.access import Access
from ..access.audit_log import AuditLog
from ..access.tokens import TokenFile
from ..access.usage_ledger import UsageLedger
from ..identity import peer_of, peers_of
from ..protocol.program import Program
from ..protocol.server_offline import Offline
from ..store import Purpose, ServerStore
from ..store.encrypted_file import expected_bytes
from ..store.store import STATE
from ..transport.channel import Channel
from ..transport.handshake import VERSION, ClientHello, LimitError, ServerHello
from ..transport.limit import Limit, LimitKind
from ..transport.meter import Run
from ..transport.plan_list import MOST_PLANS, PlanOffer, check_plan_name
from .admission import QUEUE_S, AdmissionQueue
from .events import EventObserver, Name, emit
from .limits import MemoryBudget, RateLimit
from .material_pool import ServerMemoryPool, ServerPool, ServerStoredPool
from .served_plan import ServedPlan, Workers
from .settings import ServerSettings
from .weight_memory import allowed_bytes
from .workers.fork_server import ForkServer
from .workers.lease import ForkServersClient

SPARE_DISK = 1 << 24  # bytes that a store needs to burn what it has
BEGUN = 8  # admitted preparations per compute worker


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of one session: its plan, the program that its client asked for, where its material is kept, how much."""

    served: ServedPlan
    program: Program
    pool: ServerPool
    most_prepared: int
    answer: ServerHello
    client: str  # names the client in the log; says nothing about its identity
    each: int  # bytes of one preparation, predicted


class ServerResources:
    """The resources of one server, shared by its sessions' threads. ``plans``: what is served now, by its names.

    ``stopping``: the server accepts no more requests. Raises `PlanError` when the weights do not fit the plan or the
    homomorphic parameters, `SettingError`, `StoreError`.
    """

    def __init__(
        self,
        name: str,
        plan: Plan,
        weights: Mapping[str, NDArray[Any]],
        settings: ServerSettings,
        fork_servers: ForkServersClient | None,
        store_lock: int | None,
        on_run: Callable[[Run], None] | None,
        observers: Sequence[EventObserver],
    ) -> None:
        self.settings, self.stopping, self._closed = settings, False, False
        self._fork_servers = fork_servers
        self._on_run, self._observers = on_run, tuple(observers)
        self._loading, self._guard = threading.Lock(), threading.Lock()
        self._held = 0
        self._memory, self._rate = MemoryBudget(settings.max_prepared_bytes), RateLimit(settings.rate)
        self._slots = AdmissionQueue(
            settings.workers * BEGUN or settings.max_sessions, settings.workers or settings.max_sessions
        )
        self.plans: dict[str, ServedPlan] = {}
        self.store: ServerStore | None = None
        first = self._made(name, plan, weights)
        self.plans[name] = first
        try:
            self.store = self._open_store(store_lock)
            self.access = self._open_access(first)
        except BaseException:
            self.close()
            raise

    def load(self, name: str, plan: Plan, weights: Mapping[str, NDArray[Any]]) -> bool:
        """Serve a plan under a name, to sessions that begin from now on; those of the version before go on with it.

        Returns False if that is what is served already. Raises what the constructor raises; then nothing changes.
        """
        with self._loading:
            former = self.plans.get(name)
            if former is not None and isinstance(plan, Plan) and former.is_version(plan, weights):
                return False
            served = self._made(name, plan, weights)
            try:
                self._check_open()
                self._describe(served)
                self.access.note(
                    "configuration", what="plan", name=name, plan=served.digest, weights=served.weights_digest
                )
                with self._guard:
                    self._check_open()
                    self.plans = {**self.plans, name: served}
            except BaseException:
                served.close()
                raise
            if former is not None:
                former.retire()
            return True

    def acquire(self, name: str) -> ServedPlan | None:
        """Return the plan of that name for one session, which must release it; None: there is none.

        Raises `SessionError` when the server is closed. "" is the plan without a name, or the only one.
        """
        while (served := self._named(name)) is not None:
            if served.acquire():
                return served
            if self._closed:
                raise SessionError("the server is closed")
        return None

    def offers(self) -> list[PlanOffer]:
        """Return what is offered to those who were let in."""
        return [served.offer for _, served in sorted(self.plans.items())]

    def _named(self, name: str) -> ServedPlan | None:
        plans = self.plans
        return next(iter(plans.values())) if not name and len(plans) == 1 else plans.get(name)

    def _check_open(self) -> None:
        if self._closed:
            raise SettingError("the server is closed", "make another one")

    def _made(self, name: str, plan: Plan, weights: Mapping[str, NDArray[Any]]) -> ServedPlan:
        check_plan_name(name)
        if name not in self.plans and len(self.plans) >= MOST_PLANS:
            raise SettingError(f"{MOST_PLANS} plans are served already", "start another server for the others")
        chosen = self.settings
        others = sum(served.held_bytes for served in self.plans.values() if served.name != name)
        most = allowed_bytes(chosen.max_weight_bytes, others)
        workers_of = self._workers_of if chosen.workers else None
        return ServedPlan(name, plan, weights, threads=chosen.threads, weight_bytes=most, workers_of=workers_of)

    def _workers_of(self, served: ServedPlan, weights: Mapping[str, NDArray[Any]]) -> Workers:
        if self._fork_servers is not None:
            return self._fork_servers.lease(served.computation)
        return ForkServer(served.plan, weights, self.settings.threads, served.weight_bytes)

    def _open_store(self, lock: int | None) -> ServerStore | None:
        chosen = self.settings
        if chosen.store is None:
            return None
        most, each = chosen.max_stored_bytes, chosen.max_client_bytes
        return ServerStore(chosen.store, most, each, key=chosen.store_key, lock=lock)

    def _open_access(self, first: ServedPlan) -> Access:
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
        )
        try:
            self._describe(first, access.ledger)
            access.ledger.note_quotas(chosen.quotas)
            own = sorted(chosen.quotas.own) or None
            digests = {"plan": first.digest, "weights": first.weights_digest}
            access.note("started", **digests, by=access.means, own_quotas=own, **chosen.shown())
        except BaseException:
            access.close()
            raise
        return access

    def _describe(self, served: ServedPlan, ledger: UsageLedger | None = None) -> None:
        (ledger or self.access.ledger).describe(
            served.computation, served.plan.ring.ring_bits, served.digest, served.weights_digest
        )

    @property
    def threads(self) -> int:
        """Threads of each session."""
        return self.settings.threads

    def close(self) -> None:
        """Close the store and what forks workers; `access` is closed by its owner, after its last note."""
        with self._guard:
            self.stopping = self._closed = True
        if self.store is not None:
            self.store.close()
        for served in self.plans.values():
            served.close()

    def terms(self, hello: ClientHello, identity: str, served: ServedPlan) -> Terms:
        """Return what a client that was let in gets. Raises `LimitError` when it asks for too much."""
        each = served.each(hello.protocol, hello.batch)
        if each is None:
            raise LimitError(
                f"the client asked for protocol {hello.protocol!r:.20} and batches of {hello.batch}",
                Limit(LimitKind.BATCH),
            )
        keeps = self.store is not None and hello.keeps
        most = (
            min(self.settings.max_client_bytes, self.settings.max_stored_bytes) // expected_bytes(each)
            if keeps
            else self.settings.max_prepared
        )
        most = min(most, self.settings.max_prepared_bytes // each if not keeps else 1 << 20)
        if most < 1 or each > self.settings.max_prepared_bytes:
            bounds = [self.settings.max_prepared_bytes]
            if keeps:
                bounds += [self.settings.max_client_bytes, self.settings.max_stored_bytes]
            raise LimitError(
                f"one preparation of {each} bytes is more than a limit", Limit(LimitKind.SIZE, min(bounds))
            )
        program = served.program(hello.protocol, hello.batch)
        client = hashlib.sha256(b"deepreduce client" + bytes.fromhex(hello.identity)).hexdigest()
        pool: ServerPool = ServerMemoryPool()
        store = served.identity
        if self.store is not None:
            store = self.store.identity(served.computation)
        if self.store is not None and keeps:
            purpose = Purpose(peer_of(identity, client), served.computation, hello.protocol, hello.batch)
            pool = ServerStoredPool(self.store, purpose, program, self.threads)
        metered = self.access.quotas.of(identity).metered
        answer = ServerHello(VERSION, served.digest, served.plan.parameter_set, most, store, keeps, metered)
        return Terms(served, program, pool, most, answer, client[:12], each)

    def admits(self, address: str) -> bool:
        """Book one more session or preparation of an address; return whether its rate allows it."""
        return self._rate.take(address)

    def not_admitted(self, address: str) -> None:
        """Give back what `admits` booked, for a client that found no place."""
        self._rate.give_back(address)

    def admit(self, address: str) -> None:
        """Books one more preparation of an address. Raises `LimitError` when they come too fast."""
        if not self.admits(address):
            raise LimitError("the client's address prepares too often", Limit(LimitKind.RATE))

    def book(self, each: int, count: int) -> None:
        """Books the memory of so many preparations, or gives it back (< 0). Raises `BusyError` when there is none."""
        if count > 0:
            self._memory.book(count * each)
        else:
            self._memory.release(-count * each)
        with self._guard:
            self._held += count

    def place(self) -> AbstractContextManager[None]:
        """Return a place for one more preparation. Raises `BusyError` when there is none for long."""
        return self._slots.place(min(QUEUE_S, self.settings.timeout_s / 2))

    def offline(self, terms: Terms, channel: Channel) -> Offline:
        """Return what a session prepares with. Raises `WorkerError`."""
        return terms.served.offline(terms.program, channel, self._slots.computing)

    def ready(self) -> int:
        """Preparations in memory and in the store."""
        return self._held + (0 if self.store is None or self._closed else self.store.ready())

    def stored_bytes(self) -> int:
        """Return the size of the store's files in bytes."""
        return 0 if self.store is None or self._closed else self.store.bytes_used()

    def exhausted(self) -> str | None:
        """Return what is used up, so that nothing can be prepared for anybody; None: there is room.

        A store that has reached its limit is not among it: those whose batches fill it must come in to use them.
        """
        least = min(served.least for served in self.plans.values())
        if not self._memory.has(least):
            return "the memory for prepared material is used up"
        if self.store is not None and disk_usage(self.store.folder).free < least + SPARE_DISK:
            return "the disk of the store is full"
        return None

    def emit(self, name: Name, /, **fields: Any) -> None:
        """Tells the operator."""
        emit(name, self._observers, **fields)

    def on_run(self, run: Run) -> None:
        """Takes what an inference cost."""
        if self._on_run is not None:
            self._on_run(run)

    def _held_by(self, identity: str) -> tuple[int, int]:
        """Batches in the store, and their bytes."""
        return (0, 0) if self.store is None or self._closed else self.store.held(*peers_of(identity))
