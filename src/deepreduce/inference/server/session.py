"""One client's connection at the server: greeting, preparations, predictions.

What a client does not need to know stays here; what goes wrong goes to the log as a fixed text and to the client as a
fixed code.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from ... import _core
from ...errors import SessionError, StoreError
from ...plan import INPUT, OUTPUT
from ...plan.cost.traffic import BATCH_ID, CLAIM, RESERVED
from ...plan.execution.packing import bits_to_bytes
from ..access.access import AdmittedSession
from ..access.quota import QuotaError
from ..access.quota_check import QUESTION_BYTES, asked_for
from ..protocol.key_setup import setup_request_bytes
from ..protocol.material import ServerMaterial
from ..protocol.nonlinear.vector import Bytes, unpack
from ..protocol.program import Program
from ..protocol.server_offline import Offline
from ..protocol.server_online import predict_online
from ..store import StoreFullError
from ..transport.channel import Channel
from ..transport.errors import BusyError, PeerError, SilenceError
from ..transport.frames import HEADER, Kind, Reason
from ..transport.handshake import ClientHello, LimitError, RefusedError, VersionError, greet_client, read_hello
from ..transport.limit import Limit, LimitKind
from ..transport.meter import Phase
from ..transport.plan_list import encode_offers
from ..transport.probe import MAX_PROBES, PROBE, answer_probe
from .events import Name
from .material_pool import BatchError, ServerPool
from .resources import ServerResources, Terms
from .served_plan import ServedPlan
from .workers.remote import WorkerError

log = logging.getLogger("deepreduce.server")

MOST_UNKNOWN = 64  # batches of one session: each costs a look into the store, and a line in the log
REASONS: dict[type[Exception], Reason] = {
    VersionError: Reason.VERSION,
    RefusedError: Reason.REFUSED,
    LimitError: Reason.LIMIT,
    QuotaError: Reason.QUOTA,
    SilenceError: Reason.TIMEOUT,
    WorkerError: Reason.INTERNAL,
}


@dataclass(frozen=True, slots=True)
class Place:
    """A place at the server. ``enter`` gives it to a client whose credentials are right, or raises `BusyError`."""

    enter: Callable[[], None]
    leave: Callable[[], None]


class Session:
    """One client's connection. ``busy``: in the middle of a request."""

    def __init__(
        self,
        resources: ServerResources,
        channel: Channel,
        address: str,
        number: int,
        certificate: str | None = None,
        place: Place | None = None,
    ) -> None:
        self._resources, self._channel, self._address, self._number = resources, channel, address, number
        self._certificate = certificate  # whom the client's certificate names
        self._place = place
        self._admission: AdmittedSession | None = None
        self._served: ServedPlan | None = None
        self._terms: Terms | None = None
        self._offline: Offline | None = None  # from the set-up on
        self._booked = 0
        self._reserved: ServerMaterial | None = None  # for the next image
        self._unknown = 0  # batches that the client has named in vain
        self._probes = 0
        self._opened = False  # as the operator was told
        self.busy = False

    def run(self) -> None:
        """Serves until the client leaves or something is wrong; never raises."""
        try:
            hello = read_hello(self._channel)
            admitted, served = self._admit(hello)
            if served is None:
                return self._list_plans(hello.plan)
            self._terms = terms = self._resources.terms(hello, admitted.identity, served)
            greet_client(self._channel, hello, terms.answer, served.content)
            self._opened = True
            self._emit("opened", protocol=hello.protocol, batch=hello.batch, stored=terms.pool.stored)
            while self._serve_one(terms):
                pass
        except BusyError as error:  # before the greeting: later ones are answered where they are raised
            self._refused(error, "sessions")
            self._channel.turn_away(error)
        except PeerError as error:
            self._refused(error, "peer")
        except SessionError as error:
            reason = REASONS.get(type(error), Reason.MALFORMED)
            self._refused(error, reason.name.lower())
            self._channel.fail(reason, getattr(error, "limit", None))
        except StoreError as error:
            self._refused(error, "store")
            full = isinstance(error, StoreFullError)
            self._channel.fail(Reason.LIMIT, Limit(LimitKind.STORE if full else LimitKind.DISK))
        except Exception as error:  # a fault of ours must not take the server down
            log.error("%s: session failed: %s", self._address, type(error).__name__, exc_info=error)
            self._emit("failed", reason="internal")
            self._channel.fail(Reason.INTERNAL)
        finally:
            self._close_offline()
            if self._reserved is not None:
                self._reserved.wipe()
            if self._terms is not None:
                self._terms.pool.clear()
                self._resources.book(self._terms.each, -self._booked)  # what was admitted ends with it
            if self._admission is not None:
                self._admission.leave()
            if self._opened:
                self._emit("closed")
            self._release()
            if self._place is not None:
                self._place.leave()  # before the client sees the end, since it may come again at once
            self._channel.close()

    def _admit(self, hello: ClientHello) -> tuple[AdmittedSession, ServedPlan | None]:
        """Let a client in, with a place and the plan that it asked for; None: it asked for none that there is."""
        resources, access = self._resources, self._resources.access
        identity = access.identify(hello, self._certificate)  # before anything that depends on what is served
        self._served = served = None if hello.plan is None else resources.acquire(hello.plan)
        plan, computation = (None, "") if served is None else (served.digest, served.computation)
        self._admission = admitted = access.admit(identity, self._address, self._number, plan, computation)
        if self._place is not None:
            self._place.enter()
        return admitted, served

    def _list_plans(self, asked: str | None) -> None:
        """Tell a client that was let in which plans there are; with it the session ends."""
        if asked is None:
            self._emit("listed")
        else:
            self._emit("refused", reason="plan", text=f"the client asked for a plan that is not there: {asked!r}")
        self._channel.answer_and_end(Kind.PLANS, encode_offers(self._resources.offers()))

    def dismiss(self) -> bool:
        """Tell an idle client that the server stops, from another thread. Returns False during a request."""
        if self._channel.readable() or self.busy:  # in this order: what was received meanwhile is being served
            return False
        return self._channel.farewell(Reason.STOPPING)

    def _refused(self, error: SessionError | StoreError, reason: str) -> None:
        if self._admission is None and not isinstance(error, QuotaError):
            self._resources.access.refused(self._address, self._number, error.message)
        if not self._resources.stopping:  # which ends sessions under their feet
            self._emit("refused", reason=reason, text=error.message)

    def _emit(self, name: Name, /, **fields: Any) -> None:
        client = None if self._terms is None else self._terms.client
        identity = None if self._admission is None else self._admission.identity
        names = {"session": self._number, "address": self._address, "identity": identity, "client": client}
        names["name"] = None if self._served is None else self._served.name or None
        self._resources.emit(name, **names, **fields)

    def _serve_one(self, terms: Terms) -> bool:
        """Return one request; False when the client has left."""
        plan, channel = terms.program.plan, self._channel
        count = terms.program.batch * prod(plan.input_shape)
        lengths = {
            Kind.BYE: 0,
            Kind.QUOTA_CHECK: QUESTION_BYTES,
        }
        if self._probes < MAX_PROBES:
            lengths[Kind.PROBE] = PROBE
        if self._reserved is None:
            lengths[Kind.RESERVE] = CLAIM
        else:
            lengths[Kind.INPUT] = bits_to_bytes(count * plan.ring.ring_bits)
        if self._offline is None:
            lengths[Kind.SETUP] = setup_request_bytes(plan)
        else:
            lengths[Kind.PREPARE] = BATCH_ID
        kind = channel.next_of(lengths, self._resources.settings.idle_s)
        if kind == Kind.BYE:
            return False
        self.busy = True
        try:
            content = channel.content(lengths[kind])
            match kind:
                case Kind.SETUP:
                    self._serve_setup(terms, content)
                case Kind.PREPARE if self._offline is not None:
                    self._serve_prepare(terms, self._offline, content.tobytes())
                case Kind.PROBE:
                    self._probes += 1
                    answer_probe(channel, content)
                case Kind.QUOTA_CHECK:
                    self._serve_ask(terms, content.tobytes())
                case Kind.RESERVE:
                    self._serve_reserve(terms, content.tobytes())
                case Kind.INPUT if self._reserved is not None:
                    material, self._reserved = self._reserved, None
                    self._serve_input(terms, material, content, count)
                case _:  # `next_of` lets nothing else through
                    raise SessionError(f"the client sent a frame of kind {kind.name} out of turn")
        finally:
            _core.wipe_residue()
            self.busy = False
        return True

    def _serve_ask(self, terms: Terms, content: bytes) -> None:
        """Books what the client is about to ask for, if it may."""
        batches = self._booked + 1
        answer = self._admitted().ask(asked_for(content), terms.program.batch, batches, batches * terms.each)
        if not answer.granted:
            self._emit("refused", reason="quota", retry_s=answer.retry_s or None)
        self._channel.send(Kind.QUOTA_ANSWER, answer.encoded())

    def _serve_reserve(self, terms: Terms, claim: bytes) -> None:
        """Takes the batch that the next image is for, if it is there: two clients never get the same."""
        admitted = self._admitted()
        if admitted.quota.metered:
            admitted.book(terms.program.batch)  # while the batch is whole: one that a quota refuses is kept
        # Used from here on: a store has this on the disk before the client may send the image.
        try:
            self._reserved = terms.pool.take(claim[:BATCH_ID], claim[BATCH_ID:])
        except BatchError as error:
            admitted.give_back()
            self._unknown += 1
            if self._unknown > MOST_UNKNOWN:
                limit = Limit(LimitKind.UNKNOWN_BATCHES, MOST_UNKNOWN)
                raise LimitError("the client named too many batches that are not there", limit) from None
            self._emit("refused", reason="batch", text=error.message)
            self._channel.send(Kind.RESERVED, b"\0")
            return
        except StoreError:
            admitted.give_back()
            raise
        cost = self._reserved.offline.ops[OUTPUT]
        cost.received_bytes += HEADER.size + CLAIM
        cost.sent_bytes += HEADER.size + RESERVED
        self._channel.send(Kind.RESERVED, b"\1")

    def _serve_input(self, terms: Terms, material: ServerMaterial, content: Bytes, count: int) -> None:
        program, bits = terms.program, terms.program.plan.ring.ring_bits
        started = time.perf_counter()
        try:
            self._admitted().predicting(program.batch, len(content))
            operand = unpack(content, count, bits).reshape(program.batch, *program.plan.input_shape)
            run = predict_online(
                self._channel, program, material, operand, terms.served.linears, self._resources.threads
            )
        finally:
            material.wipe()
        run.online.seconds = time.perf_counter() - started
        run.online.ops[INPUT].received_bytes += HEADER.size + len(content)
        self._book(terms, terms.pool.count_in_memory())
        self._cost("predicted", program, run.online)
        self._resources.on_run(run)

    def _book(self, terms: Terms, count: int) -> None:
        """Memory for what the session holds. Raises `BusyError`, `QuotaError`."""
        self._admitted().hold(count, count * terms.each)
        self._resources.book(terms.each, count - self._booked)
        self._booked = count

    def _cost(self, name: Name, program: Program, phase: Phase) -> None:
        self._emit(
            name,
            batch=program.batch,
            seconds=phase.seconds,
            up_bytes=phase.received_bytes,
            down_bytes=phase.sent_bytes,
        )

    # --- offline -----------------------------------------------------------------------------------------------------

    def _serve_setup(self, terms: Terms, content: Bytes) -> None:
        try:
            with self._resources.place():
                self._offline = self._resources.offline(terms, self._channel)
                self._offline.set_up(content)
        except BusyError as error:
            self._busy(error, terms, renew=False)
        except WorkerError as error:
            self._refused(error, "worker")
            self._busy(BusyError(1), terms, renew=True)

    def _serve_prepare(self, terms: Terms, offline: Offline, batch_id: bytes) -> None:
        program, pool = terms.program, terms.pool
        if pool.is_in_memory(batch_id) or pool.count_in_memory() >= terms.most_prepared:
            limit = Limit(LimitKind.PREPARED, terms.most_prepared)
            raise LimitError(
                f"the client asked for more than {terms.most_prepared} preparations, or for one twice", limit
            )
        try:
            self._book(terms, self._booked + 1)
            with self._resources.place():
                self._resources.admit(self._address)
                self._admitted().preparing(program.batch, terms.each)  # counted before the first answer
                phase = self._prepare(offline, pool, batch_id)
        except BusyError as error:
            # Without a linear op the client does not wait for an answer before it uses its keys.
            self._busy(error, terms, renew=not program.waves)
        except WorkerError as error:  # the session has other batches, and can get another worker
            self._refused(error, "worker")
            self._busy(BusyError(1), terms, renew=True)
        else:
            phase.ops[INPUT].received_bytes += HEADER.size + len(batch_id)  # what began it
            self._cost("prepared", program, phase)
        self._book(terms, pool.count_in_memory())

    def _prepare(self, offline: Offline, pool: ServerPool, batch_id: bytes) -> Phase:
        channel, phase = self._channel, Phase()
        with channel.meter.phase(phase), channel.transcript() as digests:
            material = ServerMaterial(*offline.run(batch_id), b"", phase)
            try:
                material.transcript = transcript = hashlib.sha256(digests[1].digest() + digests[0].digest()).digest()
                if channel.receive(Kind.CLAIM, CLAIM, op=OUTPUT).tobytes() != batch_id + transcript:
                    raise SessionError("the parties saw different preparations")
            except BaseException:
                material.wipe()
                raise
        pool.put(batch_id, material)  # before the client may rely on it
        with channel.meter.phase(phase):
            channel.send(Kind.CLAIM, batch_id, transcript, op=OUTPUT)
        return phase

    def _busy(self, busy: BusyError, terms: Terms, *, renew: bool) -> None:
        """The request is not served; the session goes on with what it has."""
        self._emit("refused", reason="busy", retry_s=busy.retry_s, text=busy.limit.text or None)
        if renew:
            self._close_offline()
        told = BusyError(busy.retry_s, renew, busy.limit)
        self._channel.refuse(told, terms.served.offline_bytes(terms.program))

    def _admitted(self) -> AdmittedSession:
        assert self._admission is not None  # nothing is served before
        return self._admission

    def _release(self) -> None:
        """Let go of the plan: the last session of a version that is not served any more frees it."""
        served, self._served, self._terms = self._served, None, None
        if served is not None:
            served.release()

    def _close_offline(self) -> None:
        if self._offline is not None:
            self._offline.close()
            self._offline = None
