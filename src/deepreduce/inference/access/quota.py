"""Limits of an identity: images per window of time and in all, prepared material, connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from ...errors import SessionError, SettingError
from ..checks import check_between, check_seconds
from ..transport.limit import Limit

DAY_S = 86400.0
MOST = 1 << 62


class QuotaError(SessionError):
    """An identity has used up what it may. ``retry_s``: when to ask again; 0: that depends on the operator.

    ``limit`` is what the client is told: its quota, and not how much of it was used (by others of its identity).
    """

    def __init__(self, message: str, limit: Limit, retry_s: int = 0) -> None:
        super().__init__(message)
        self.limit, self.retry_s = limit, retry_s


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of one identity; None: no limit.

    ``predictions``: images within any ``window_s`` seconds, ``total``: images ever. ``prepared``: images ever prepared,
    used or not, which bounds what the noise of the encrypted answers may tell about the weights (SECURITY.md).
    ``ready``, ``ready_bytes``: batches prepared and not used, in memory and in the store. ``connections``: at a time.
    """

    predictions: int | None = None
    window_s: float = DAY_S
    total: int | None = None
    prepared: int | None = None
    ready: int | None = None
    ready_bytes: int | None = None
    connections: int | None = None

    def __post_init__(self) -> None:
        check_seconds("window_s", self.window_s)
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name != "window_s" and value is not None:
                check_between(f"the quota {one.name}", value, 0, MOST)

    @property
    def holds(self) -> bool:
        """Whether it limits what is held at a time."""
        return any(v is not None for v in (self.ready, self.ready_bytes, self.connections))

    @property
    def metered(self) -> bool:
        """Whether a prediction or preparation may be refused, so that a client should ask before it spends material."""
        return any(v is not None for v in (self.predictions, self.total, self.prepared, self.ready, self.ready_bytes))

    @property
    def lasting(self) -> bool:
        """Whether it counts what must survive the process."""
        return any(v is not None for v in (self.predictions, self.total, self.prepared))


@dataclass(frozen=True, slots=True)
class Quotas:
    """The quota of every identity: its own, or the one of all others."""

    default: Quota = Quota()
    own: Mapping[str, Quota] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in (self.default, *self.own.values()):
            if not isinstance(one, Quota):
                raise SettingError(
                    f"expected a Quota, got {type(one).__name__}", "make one: deepreduce.inference.Quota"
                )

    def of(self, identity: str) -> Quota:
        """Return what that identity may use."""
        return self.own.get(identity, self.default)

    @property
    def lasting(self) -> bool:
        """Whether any of them counts what must survive the process."""
        return any(one.lasting for one in (self.default, *self.own.values()))

    @property
    def holds(self) -> bool:
        """Whether any of them limits what is held at a time."""
        return any(one.holds for one in (self.default, *self.own.values()))
