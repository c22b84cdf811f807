"""What is left of each identity's quotas, and when more of it is free again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .quota import Quota
from .usage_ledger import UsageLedger

Stored = Callable[[str], tuple[int, int]]  # batches and bytes in the store, of an identity


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """Use of one quota by an identity. ``window_s``: of predictions, the seconds in which they count.

    ``next_s``: seconds until some of what is used is free again, ``reset_s``: until all is; None: no time frees it.
    """

    identity: str
    quota: str
    limit: int
    used: int
    window_s: float | None = None
    next_s: int | None = None
    reset_s: int | None = None

    @property
    def left(self) -> int:
        """How much may still be used; a limit that was lowered leaves nothing."""
        return max(0, self.limit - self.used)


def quota_usage(ledger: UsageLedger, stored: Stored) -> list[QuotaUse]:
    """Return the use of all quotas that the ledger's server last had, of every identity that is known there."""
    quotas = ledger.quotas()
    usage = ledger.usage()
    identities = sorted({one.identity for one in usage} | quotas.own.keys() | ledger.present())
    return [use for identity in identities for use in _uses(ledger, identity, quotas.of(identity), stored)]


def _uses(ledger: UsageLedger, identity: str, quota: Quota, stored: Stored) -> Iterator[QuotaUse]:
    if quota.predictions is not None:
        used, next_s, reset_s = ledger.window(identity, quota.window_s)
        yield QuotaUse(identity, "predictions", quota.predictions, used, quota.window_s, next_s, reset_s)
    prepared, predicted = ledger.totals(identity)
    held = ledger.held(identity)
    batches, size = stored(identity)
    for name, limit, used in (
        ("total", quota.total, predicted),
        ("prepared", quota.prepared, prepared),
        ("ready", quota.ready, held.batches + batches),
        ("ready_bytes", quota.ready_bytes, held.size + size),
        ("connections", quota.connections, held.sessions),
    ):
        if limit is not None:
            yield QuotaUse(identity, name, limit, used)
