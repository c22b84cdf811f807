"""Limits as a server tells them to a client: which was reached, its bound and window; nothing of other clients."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from ...units import show_bytes, show_duration

LIMIT = struct.Struct("<BQI")  # kind, bound (0: not told), seconds of a window


class LimitKind(IntEnum):
    """Which limit of a server's settings, or quota of the client's identity, was reached."""

    NONE = 0
    SESSIONS = 1
    RATE = 2
    MEMORY = 3
    PREPARATIONS = 4
    SIZE = 5
    BATCH = 6
    PREPARED = 7
    STORE = 8
    DISK = 9
    UNKNOWN_BATCHES = 10
    QUOTA_PREDICTIONS = 32
    QUOTA_TOTAL = 33
    QUOTA_PREPARED = 34
    QUOTA_READY = 35
    QUOTA_READY_BYTES = 36
    QUOTA_CONNECTIONS = 37


TEXTS = {  # kind: what was reached, and what the client can do
    LimitKind.SESSIONS: ("all its places for sessions are taken", ""),
    LimitKind.RATE: ("new sessions and preparations of one address in a minute", "wait a minute"),
    LimitKind.MEMORY: ("its memory for prepared material is taken", ""),
    LimitKind.PREPARATIONS: ("all its places for preparations are taken", ""),
    LimitKind.SIZE: ("{size} for one preparation", "use smaller batches"),
    LimitKind.BATCH: ("the protocol, or the images of a batch", "use smaller batches"),
    LimitKind.PREPARED: ("{most:,} preparation{s} of one session", "prepare fewer at a time"),
    LimitKind.STORE: ("the size of its store", "use what is prepared, or try again later"),
    LimitKind.DISK: ("it cannot write to its disk", "its operator finds the cause in its log"),
    LimitKind.UNKNOWN_BATCHES: ("{most:,} batch{es} of one session that it does not have", "delete the client's store"),
    LimitKind.QUOTA_PREDICTIONS: ("{most:,} image{s} in {window}", ""),
    LimitKind.QUOTA_TOTAL: ("{most:,} image{s} in all", ""),
    LimitKind.QUOTA_PREPARED: ("{most:,} prepared image{s} in all", ""),
    LimitKind.QUOTA_READY: ("{most:,} prepared and unused batch{es}", "use what is prepared"),
    LimitKind.QUOTA_READY_BYTES: ("{size} of prepared and unused batches", "use what is prepared"),
    LimitKind.QUOTA_CONNECTIONS: ("{most:,} connection{s} at a time", "close another connection"),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that was reached. ``most``: its bound, of a quota in ``window_s`` seconds; 0: not told."""

    kind: int = LimitKind.NONE
    most: int = 0
    window_s: int = 0

    def encoded(self) -> bytes:
        """13 bytes."""
        return LIMIT.pack(self.kind, min(self.most, (1 << 64) - 1), min(self.window_s, 0xFFFFFFFF))

    @property
    def text(self) -> str:
        """The limit in words; "" where none is known."""
        text = self._texts[0]
        more = self.most != 1
        plural = {"s": "s" * more, "es": "es" * more}
        return text.format(most=self.most, size=show_bytes(self.most), window=show_duration(self.window_s), **plural)

    @property
    def hint(self) -> str:
        """What the client can do about it; "" where there is nothing in particular."""
        return self._texts[1]

    @property
    def _texts(self) -> tuple[str, str]:
        return next((texts for kind, texts in TEXTS.items() if kind == self.kind), ("", ""))


NO_LIMIT = Limit()


def limit_of(content: bytes | bytearray) -> Limit:
    """Return what 13 bytes say; a kind that is unknown has no words."""
    return Limit(*LIMIT.unpack(content))
