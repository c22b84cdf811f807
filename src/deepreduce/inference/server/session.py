"""One client's connection at the server: greeting, preparations, predictions.

What a client does not need to know stays here; what goes wrong goes to the log as a fixed text and to the client as a
fixed code.
"""

from __future__ import annotations

import hashlib
import logging
import time
from math import prod
from typing import Any

import numpy as np

from ... import _core
from ...errors import SessionError, StoreError
from ...plan import INPUT, OUTPUT
from ...plan.cost.traffic import BATCH_ID, CLAIM
from ...plan.execution.packing import bits_to_bytes
from ...plan.execution.schedule import Step
from ..access.access import Guest
from ..access.quota import QuotaError
from ..access.quota_check import ASK, asked_for
from ..protocol.material import ServerMaterial
from ..protocol.nonlinear.vector import Bytes, ServerVector, pad, part, unpack
from ..protocol.program import Program, Ring, Shares
from ..protocol.server_offline import Offline
from ..transport.channel import HEADER, BusyError, Channel, Kind, PeerError, Reason, SilenceError
from ..transport.handshake import LimitError, RefusedError, VersionError, greet_client, read_hello, setup_request_bytes
from ..transport.meter import Phase, Run
from .events import Name
from .material_pool import BatchError, ServerShelf
from .resources import Host, Terms
from .workers.fork_server import WorkerError

log = logging.getLogger("deepreduce.server")

REASONS: dict[type[Exception], Reason] = {
    VersionError: Reason.VERSION,
    RefusedError: Reason.REFUSED,
    LimitError: Reason.LIMIT,
    QuotaError: Reason.QUOTA,
    BatchError: Reason.BATCH,
    SilenceError: Reason.TIMEOUT,
    WorkerError: Reason.INTERNAL,
}


class Session:
    """One client's connection. ``busy``: in the middle of a request."""

    def __init__(self, host: Host, channel: Channel, address: str, number: int, certificate: str | None = None) -> None:
        self._host, self._channel, self._address, self._number = host, channel, address, number
        self._certificate = certificate  # whom the client's certificate names
        self._guest: Guest | None = None
        self._terms: Terms | None = None
        self._offline: Offline | None = None  # from the set-up on
        self._booked = 0
        self._opened = False  # as the operator was told
        self.busy = False

    def run(self) -> None:
        """Serves until the client leaves or something is wrong; never raises."""
        try:
            hello = read_hello(self._channel)
            access = self._host.access
            self._guest = guest = access.admit(hello, self._certificate, self._address, self._number)
            self._terms = terms = self._host.terms(hello, guest.identity)
            greet_client(self._channel, hello, terms.answer, self._host.plan_bytes)
            self._opened = True
            self._emit("opened", protocol=hello.protocol, batch=hello.batch, stored=terms.shelf.stored)
            while self._serve_one(terms):
                pass
        except PeerError as error:
            self._refused(error, "peer")
        except SessionError as error:
            reason = REASONS.get(type(error), Reason.MALFORMED)
            self._refused(error, reason.name.lower())
            self._channel.fail(reason)
        except StoreError as error:
            self._refused(error, "store")
            self._channel.fail(Reason.LIMIT)
        except Exception as error:  # a fault of ours must not take the server down
            log.error("%s: session failed: %s", self._address, type(error).__name__, exc_info=error)
            self._emit("failed", reason="internal")
            self._channel.fail(Reason.INTERNAL)
        finally:
            self._close_offline()
            if self._terms is not None:
                self._terms.shelf.clear()
                self._host.book(self._terms.program, -self._booked)  # the guest's part ends with it
            if self._guest is not None:
                self._guest.leave()
            if self._opened:
                self._emit("closed")
            self._channel.close()

    def dismiss(self) -> bool:
        """From another thread: tells an idle client that the server stops. False: a request has come, or is served."""
        if self._channel.readable() or self.busy:  # in this order: what was received meanwhile is being served
            return False
        return self._channel.farewell(Reason.STOPPING)

    def _refused(self, error: SessionError | StoreError, reason: str) -> None:
        if self._guest is None and not isinstance(error, QuotaError):
            self._host.access.refused(self._address, self._number, error.message)
        if not self._host.stopping:  # which ends sessions under their feet
            self._emit("refused", reason=reason, text=error.message)

    def _emit(self, name: Name, **fields: Any) -> None:
        client = None if self._terms is None else self._terms.client
        identity = None if self._guest is None else self._guest.identity
        names = {"session": self._number, "address": self._address, "identity": identity, "client": client}
        self._host.emit(name, **names, **fields)

    def _serve_one(self, terms: Terms) -> bool:
        """One request; False when the client has left."""
        plan, channel = terms.program.plan, self._channel
        count = terms.program.batch * prod(plan.input_shape)
        lengths = {Kind.INPUT: CLAIM + bits_to_bytes(count * plan.ring.ring_bits), Kind.BYE: 0, Kind.ASK: ASK}
        if self._offline is None:
            lengths[Kind.SETUP] = setup_request_bytes(plan.ring.ring_bits)
        else:
            lengths[Kind.PREPARE] = BATCH_ID
        kind = channel.next_of(lengths, self._host.idle_s)
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
                case Kind.ASK:
                    self._serve_ask(terms, content.tobytes())
                case _:
                    self._serve_input(terms, content, count)
        finally:
            _core.wipe_residue()
            self.busy = False
        return True

    def _serve_ask(self, terms: Terms, content: bytes) -> None:
        """Books what the client is about to ask for, if it may."""
        batches = self._booked + 1
        allowance = self._admitted().ask(asked_for(content), terms.program.batch, batches, batches * terms.each)
        if not allowance.granted:
            self._emit("refused", reason="quota", retry_s=allowance.retry_s or None)
        self._channel.send(Kind.ALLOWANCE, allowance.encoded())

    def _serve_input(self, terms: Terms, content: Bytes, count: int) -> None:
        program, bits = terms.program, terms.program.plan.ring.ring_bits
        started = time.perf_counter()
        guest = self._admitted()
        guest.book(program.batch)  # while the batch is whole: one that a quota refuses is kept
        # Used from here on: a store has this on the disk before the first byte that depends on the client's is sent.
        try:
            material = terms.shelf.take(content[:BATCH_ID].tobytes(), content[BATCH_ID:CLAIM].tobytes())
        except BatchError:
            guest.give_back()
            raise
        try:
            guest.predicting(program.batch, len(content))
            operand = unpack(content[CLAIM:], count, bits).reshape(program.batch, *program.plan.input_shape)
            run = self._predict(program, material, operand)
        finally:
            material.wipe()
        run.online.seconds = time.perf_counter() - started  # with the store's part
        run.online.ops[INPUT].received_bytes += HEADER.size + len(content)
        self._book(program, len(terms.shelf))
        self._cost("predicted", program, run.online)
        self._host.on_run(run)

    def _book(self, program: Program, count: int) -> None:
        """Memory for what the session holds. Raises `BusyError`, `QuotaError`."""
        if self._guest is not None and self._terms is not None:
            self._guest.hold(count, count * self._terms.each)
        self._host.book(program, count - self._booked)
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
            with self._host.place():
                self._offline = self._host.offline(terms.program, self._channel)
                self._offline.set_up(content)
        except BusyError as error:
            self._busy(error.retry_s, terms.program, renew=False)
        except WorkerError as error:
            self._refused(error, "worker")
            self._busy(1, terms.program, renew=True)

    def _serve_prepare(self, terms: Terms, offline: Offline, batch_id: bytes) -> None:
        program, shelf = terms.program, terms.shelf
        if shelf.holds(batch_id) or len(shelf) >= terms.most_prepared:
            raise LimitError(f"the client asked for more than {terms.most_prepared} preparations, or for one twice")
        try:
            self._book(program, self._booked + 1)
            with self._host.place():
                self._host.admit(self._address)
                self._admitted().preparing(program.batch, terms.each)  # counted before the first answer
                phase = self._prepare(offline, shelf, batch_id)
        except BusyError as error:
            # Without a linear op the client does not wait for an answer before it uses its keys.
            self._busy(error.retry_s, program, renew=not program.waves)
        except WorkerError as error:  # the session has other batches, and can get another worker
            self._refused(error, "worker")
            self._busy(1, program, renew=True)
        else:
            phase.ops[INPUT].received_bytes += HEADER.size + len(batch_id)  # what began it
            self._cost("prepared", program, phase)
        self._book(program, len(shelf))

    def _prepare(self, offline: Offline, shelf: ServerShelf, batch_id: bytes) -> Phase:
        channel, phase = self._channel, Phase()
        with channel.meter.phase(phase), channel.transcript() as digests:
            material = ServerMaterial(*offline.run(), b"", phase)
            try:
                material.transcript = transcript = hashlib.sha256(digests[1].digest() + digests[0].digest()).digest()
                if channel.receive(Kind.CLAIM, CLAIM, op=OUTPUT).tobytes() != batch_id + transcript:
                    raise SessionError("the parties saw different preparations")
            except BaseException:
                material.wipe()
                raise
        shelf.put(batch_id, material)  # before the client may rely on it
        with channel.meter.phase(phase):
            channel.send(Kind.CLAIM, batch_id, transcript, op=OUTPUT)
        return phase

    def _busy(self, retry_s: int, program: Program, *, renew: bool) -> None:
        """The request is not served; the session goes on with what it has."""
        self._emit("refused", reason="busy", retry_s=retry_s)
        if renew:
            self._close_offline()
        self._channel.refuse(retry_s, renew, self._host.offline_bytes(program))

    def _admitted(self) -> Guest:
        assert self._guest is not None  # nothing is served before
        return self._guest

    def _close_offline(self) -> None:
        if self._offline is not None:
            self._offline.close()
            self._offline = None

    # --- online ------------------------------------------------------------------------------------------------------

    def _predict(self, program: Program, material: ServerMaterial, operand: Ring) -> Run:
        channel, run = self._channel, Run(material.offline)
        shares = Shares(program, operand)

        def linear(name: str, x: Ring) -> Ring:
            with channel.meter.op(name):
                return self._host.linears[name].apply(x, material.linear_masks[name], self._host.threads)

        try:
            with channel.meter.phase(run.online):
                shares.settle(linear)
                for level in program.levels:
                    self._level(level, material, shares)
                    shares.settle(linear)
                with channel.meter.op(OUTPUT):
                    answer = np.ascontiguousarray(shares.values[program.plan.output]).reshape(-1)
                    channel.send(Kind.RESULT, _core.pack(answer, program.plan.ring.ring_bits), op=OUTPUT)
        finally:
            shares.wipe()
        return run

    def _level(self, level: list[Step], material: ServerMaterial, shares: Shares) -> None:
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
