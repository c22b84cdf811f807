"""Settings of a server, checked once and frozen."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import SettingError
from ..access.access import shown_quota
from ..access.quota import Quotas
from ..checks import MAX_THREADS, check_between, check_seconds, check_token
from ..transport.streams import checked_context
from .limits import free_memory

_BOUNDS: Mapping[str, tuple[int, int]] = {
    "threads": (1, MAX_THREADS),
    "workers": (0, MAX_THREADS),
    "max_sessions": (1, 1 << 16),
    "max_prepared": (1, 1 << 20),
    "max_prepared_bytes": (1, 1 << 62),
    "max_stored_bytes": (1, 1 << 62),
    "max_client_bytes": (1, 1 << 62),
    "max_weight_bytes": (-1, 1 << 62),
}


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of a `Server`. Raises `SettingError` for a value out of its bounds.

    ``threads``: of each session. ``workers``: preparations computed at once, each in a process of its own at low
    priority; 0: in the sessions' threads.

    ``tls``: an `ssl.SSLContext` (`deepreduce.inference.server_context`); None: a certificate of the development CA, for
    addresses that only this machine can reach. ``insecure=True``: plain TCP, for tests only.
    ``token``: what every client must show before it learns anything; ``tokens``: a file with the names of many clients
    and the hashes of theirs (`deepreduce.inference.access.tokens`).

    ``quotas``: what each identity may use (`deepreduce.inference.access.quota`), counted in the folder ``state`` (the
    store's, if it is None), which several servers of one machine may share. ``audit``: a file for who did what, when
    (`deepreduce.inference.access.audit_log`).

    ``timeout_s``: how long a client may be silent in the middle of a message exchange; ``idle_s``: between requests.
    ``rate``: new sessions and preparations of one address per minute; None: any number.

    ``store``: a folder for what clients with a store prepare, so that it outlives connections and the process;
    ``store_key``: a file with the key that encrypts it, None: the user's (docs/operate/service.md).

    ``max_sessions``: clients at once; ``max_prepared``: preparations that one session may have in memory;
    ``max_prepared_bytes``: of all sessions in memory, as predicted; ``max_stored_bytes`` and ``max_client_bytes``: of
    the store, for all clients together and for each.

    ``max_weight_bytes``: of weights that are kept as preparations multiply by them, at -1 half of the memory that is
    free when they are read; other weights are transformed for every preparation, which takes longer.
    """

    threads: int = 1
    workers: int = 0
    tls: ssl.SSLContext | None = None
    insecure: bool = False
    token: str | None = field(default=None, repr=False)
    tokens: Path | str | None = None
    quotas: Quotas = field(default_factory=Quotas)
    state: Path | str | None = None
    audit: Path | str | None = None
    timeout_s: float = 60.0
    idle_s: float = 3600.0
    rate: float | None = None
    store: Path | str | None = None
    store_key: Path | str | None = None
    max_sessions: int = 64
    max_prepared: int = 64
    max_prepared_bytes: int = 1 << 33
    max_stored_bytes: int = 1 << 36
    max_client_bytes: int = 1 << 32
    max_weight_bytes: int = -1

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            check_between(name, getattr(self, name), least, most)
        check_seconds("timeout_s", self.timeout_s)
        check_seconds("idle_s", self.idle_s)
        check_token(self.token)
        rate = self.rate
        if rate is not None and not (isinstance(rate, int | float) and 0 < rate < float("inf")):
            raise SettingError(f"rate is {rate!r:.40}", "a positive number per minute is needed, or None")
        if self.tls is not None:
            checked_context(self.tls, server_side=True)
            if self.insecure:
                raise SettingError("plain TCP and TLS are asked for", "leave `insecure` out, or `tls`")
        if self.quotas.lasting and self.state is None and self.store is None:
            raise SettingError(
                "a quota of predictions or preparations needs a folder that outlives the process",
                "give the server a store or a folder for its state",
            )

    @property
    def weight_bytes(self) -> int:
        """Bytes that transformed weights may take."""
        return free_memory() // 2 if self.max_weight_bytes < 0 else self.max_weight_bytes

    @property
    def certificates(self) -> bool:
        """Whether clients must show a certificate."""
        return self.tls is not None and self.tls.verify_mode == ssl.CERT_REQUIRED

    def shown(self) -> dict[str, Any]:
        """Return the limits for the audit log, without secrets, paths and what identities are called."""
        limits = {name: getattr(self, name) for name in _BOUNDS}
        return {
            **limits,
            "timeout_s": self.timeout_s,
            "idle_s": self.idle_s,
            "rate": self.rate,
            "tls": not self.insecure,
            "store": self.store is not None,
            "quota": shown_quota(self.quotas.default),
        }
