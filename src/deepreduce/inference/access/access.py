"""Authentication, authorization and per-identity accounting: one `Access` a server, one `AdmittedSession` a session.

Identity: the name in a client's certificate, where the server asks for one, or the name of its token, or ANONYMOUS
(of clients that have neither, or the one token of all). Where both are asked for both must be good, and they
must name the same.
"""

from __future__ import annotations

import hmac
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from ...errors import SettingError, StoreError
from ..identity import ANONYMOUS
from ..transport.handshake import ClientHello, RefusedError
from .audit_log import AuditLog
from .quota import Quota, QuotaError, Quotas
from .quota_check import QuotaAnswer, QuotaQuestion
from .tokens import TokenFile
from .usage_ledger import Booked, Holding, UsageLedger

log = logging.getLogger("deepreduce.server")
BOOKED_S = 30.0  # how old the count of a prediction may be when it begins

Held = Callable[[str], tuple[int, int]]  # batches and bytes in the store, of an identity


class Access:
    """``token``: one text for everybody; ``tokens``: a file of names. ``certificates``: clients must show one, which
    the TLS handshake has verified.
    """

    def __init__(
        self,
        *,
        token: str | None,
        tokens: TokenFile | None,
        certificates: bool,
        quotas: Quotas,
        ledger: UsageLedger,
        held: Held,
        audit: AuditLog | None,
    ) -> None:
        self.quotas, self.tokens = quotas, tokens
        self._token, self._certificates = token, certificates
        self.ledger, self.held, self._audit = ledger, held, audit
        self.guard = threading.RLock()
        self._sessions: dict[str, list[AdmittedSession]] = {}

    @property
    def audit_head(self) -> str | None:
        """The hash of the audit log's last line: worth keeping elsewhere."""
        return None if self._audit is None else self._audit.head

    @property
    def open_to_all(self) -> bool:
        """Whether every client that can connect is admitted."""
        return self._token is None and self.tokens is None and not self._certificates

    def admit(self, identity: str, address: str, session: int, plan: str | None, computation: str) -> AdmittedSession:
        """Lets a client in that was identified. Raises `QuotaError`.

        ``computation``: what is served to it, for the ledger; ``plan``: its digest, for the log.
        """
        admitted = AdmittedSession(self, identity, address, session, plan, computation)
        self.note("authentication", **admitted.names, result="accepted", by=self.means, plan=plan)
        with self.guard:
            sessions = self._sessions.setdefault(identity, [])
            sessions.append(admitted)
            try:
                with admitted.refusals("connections"):
                    if admitted.quota.holds:
                        self.ledger.enter(identity, admitted.quota, self.holding(identity))
            except BaseException:
                self.remove(admitted)
                raise
        return admitted

    def refused(self, address: str, session: int, why: str) -> None:
        """Tells the audit log of a client that was not let in."""
        self.note_only("authentication", **whence(address, session), result="refused", why=why)

    def note(self, event: str, **fields: Any) -> None:
        """A line in the audit log, if there is one. Raises `StoreError`; then what it is about must not happen."""
        if self._audit is not None:
            self._audit.write(event, **fields)

    def note_only(self, event: str, **fields: Any) -> None:
        """A line about what has happened already: if it cannot be written, there is nothing to hold back."""
        try:
            self.note(event, **fields)
        except StoreError as error:
            log.error("not in the audit log: %s: %s", event, error)

    def refresh(self) -> None:
        """Reads the file of tokens again if it has changed."""
        if self.tokens is not None:
            before = dict(self.tokens.entries)
            if self.tokens.refresh():
                after = dict(self.tokens.entries)
                new = sorted(name for name in after if after[name] != before.get(name))
                self.note("configuration", what="tokens", new=new, removed=sorted(before.keys() - after.keys()))

    def replace_quotas(self, quotas: Quotas) -> None:
        """Replace the quotas, for open sessions too. Raises `SettingError` where they cannot be counted."""
        if quotas.lasting and not self.ledger.lasting:
            raise SettingError("these quotas need a folder that outlives the process", "start again with `state` DIR")
        self.note("configuration", what="quotas", default=shown_quota(quotas.default), own=sorted(quotas.own))
        with self.guard:
            self.quotas = quotas
            self.ledger.note_quotas(quotas)
            for identity in self._sessions:
                self.ledger.hold(identity, self.holding(identity))

    def close(self) -> None:
        """Refuse all further sessions."""
        self.ledger.close()
        if self._audit is not None:
            self._audit.close()

    def identify(self, hello: ClientHello, certificate: str | None) -> str:
        """Return whose session it is. Raises `RefusedError`, whatever is wrong with the client's credentials.

        The texts are for the operator; clients get one code for all of them.
        """
        token = hello.token
        self.refresh()
        if self._certificates and certificate is None:
            raise RefusedError("the client's certificate has no name")
        named = None
        if self._token is not None or self.tokens is not None:
            presented = token or ""
            named = None if self.tokens is None else self.tokens.owner(presented)
            known = self._token is not None and hmac.compare_digest(
                self._token.encode(), presented.encode("utf-8", "surrogatepass")
            )
            if named is None and not known:
                raise RefusedError("the client has no valid token")
        if named is not None and certificate is not None and named != certificate:
            raise RefusedError("the client's token is another identity's than its certificate")
        return certificate or named or ANONYMOUS

    # --- for admitted sessions ----------------------------------------------------------------------------------------

    @property
    def means(self) -> str:
        """Means by which clients are identified."""
        asked = [("certificate", self._certificates), ("token", self._token is not None or self.tokens is not None)]
        return "+".join(name for name, wanted in asked if wanted) or "nothing"

    def holding(self, identity: str) -> Holding:
        """Return what this process holds, without the store. The caller holds ``guard``."""
        sessions = self._sessions.get(identity, [])
        return Holding(len(sessions), sum(one.batches for one in sessions), sum(one.size for one in sessions))

    def remove(self, admitted: AdmittedSession) -> None:
        """Remove a session that has ended. The caller holds ``guard``."""
        sessions = self._sessions[admitted.identity]
        sessions.remove(admitted)
        if not sessions:
            del self._sessions[admitted.identity]


class AdmittedSession:
    """A session that was let in: what it holds, and what it asks for. Used by the session's thread.

    ``batches``, ``size``: in memory, and being prepared; what is in the store is counted there.
    """

    def __init__(
        self, access: Access, identity: str, address: str, session: int, plan: str | None, computation: str
    ) -> None:
        self.identity, self.batches, self.size = identity, 0, 0
        self._plan, self._computation = plan, computation
        self.names: dict[str, Any] = {"identity": identity, **whence(address, session)}
        self._access = access
        self._predicted = self._prepared = 0
        self._booked: Booked | None = None
        self._booked_at = 0.0

    @property
    def quota(self) -> Quota:
        """Current quota of the session."""
        return self._access.quotas.of(self.identity)

    def ask(self, asked: QuotaQuestion, images: int, batches: int, size: int) -> QuotaAnswer:
        """Books a prediction of so many images, or one batch more, with which it holds so many ``batches``."""
        try:
            if asked == QuotaQuestion.PREDICTION:
                self.book(images)
            else:
                with self.refusals("preparations"):
                    self._access.ledger.check_prepared(self.identity, self.quota, images)
                self.hold(batches, size)
        except QuotaError as error:
            return QuotaAnswer(False, error.retry_s, error.limit)
        return QuotaAnswer(True)

    def book(self, images: int) -> None:
        """Counts a prediction, unless it is counted already. Raises `QuotaError`."""
        if self._booked is not None and time.monotonic() - self._booked_at > BOOKED_S:
            self.give_back()  # what was asked for long ago counts now
        if self._booked is None:
            self._booked_at = time.monotonic()
            with self.refusals("predictions"):
                self._booked = self._access.ledger.predict(self.identity, self.quota, self._computation, images)

    def give_back(self) -> None:
        """Give back a booking whose prediction does not begin."""
        booked, self._booked = self._booked, None
        if booked is not None:
            self._access.ledger.give_back(booked)

    def predicting(self, images: int, up_bytes: int) -> None:
        """Mark a booking as used; a prediction that no quota limits is counted now."""
        if self._booked is None:
            self.book(images)
        self._booked = None
        self._predicted += images
        self._access.note("prediction", **self.names, plan=self._plan, images=images, up_bytes=up_bytes)

    def preparing(self, images: int, size: int) -> None:
        """Counts the images of a preparation, whatever becomes of it. Raises `QuotaError`."""
        with self.refusals("preparations"):
            self._access.ledger.prepare(self.identity, self.quota, self._computation, images)
        self._prepared += images
        self._access.note("preparation", **self.names, plan=self._plan, images=images, bytes=size)

    def hold(self, batches: int, size: int) -> None:
        """Record the batches held in memory or being prepared, and their size. Raises `QuotaError` above the quota."""
        with self._access.guard:
            before, more = (self.batches, self.size), batches > self.batches
            self.batches, self.size = batches, size
            if not self.quota.holds:
                return
            mine = self._access.holding(self.identity)
            if not more:
                return self._access.ledger.hold(self.identity, mine)
            try:
                with self.refusals("preparations"):
                    stored = Holding(0, *self._access.held(self.identity))
                    self._access.ledger.reserve(self.identity, self.quota, mine, stored)
            except BaseException:
                self.batches, self.size = before
                raise

    def leave(self) -> None:
        """The session has ended, and what it held in memory with it. What cannot be counted keeps nothing else back."""
        with self._access.guard:
            self._access.remove(self)
        for step in (self._tell_holding, self.give_back):
            try:
                step()
            except StoreError as error:
                log.error("a session's end is not counted: %s", error)
        self._access.note_only("closed", **self.names, predicted=self._predicted, prepared=self._prepared)

    def _tell_holding(self) -> None:
        with self._access.guard:
            if self.quota.holds:
                self._access.ledger.hold(self.identity, self._access.holding(self.identity))

    @contextmanager
    def refusals(self, what: str) -> Iterator[None]:
        """Tells the audit log of a `QuotaError` that passes."""
        try:
            yield
        except QuotaError as error:
            text, retry_s = error.message, error.retry_s or None
            self._access.note_only("quota", **self.names, what=what, text=text, retry_s=retry_s)
            raise


def whence(address: str, session: int) -> dict[str, Any]:
    """Return a session for the log; sessions are numbered by each process for itself."""
    return {"address": address, "process": os.getpid(), "session": session}


def shown_quota(quota: Quota) -> dict[str, float]:
    """Return its limits, for the log."""
    found = {one.name: getattr(quota, one.name) for one in fields(quota) if getattr(quota, one.name) is not None}
    return found if quota.predictions is not None else {k: v for k, v in found.items() if k != "window_s"}
