"""A party's stream, with the fault of the run in it, above TLS; and the ledger of what was used on the wire.

`install` puts a `Tap` between every `Channel` of the process and its stream. The ledger is independent of the parties'
own books: it reads the frames. A batch is used by a client when an INPUT with its id is about to leave, by a server
when, after such an INPUT, the first frame that depends on it is about to leave.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deepreduce.inference.transport.channel import Channel
from deepreduce.inference.transport.frames import HEADER, Kind
from deepreduce.plan.cost.traffic import BATCH_ID

Act = Callable[["Tap", bytearray], None]


@dataclass
class Injection:
    """What happens when ``side`` is about to send its frame ``number``: ``act`` instead of sending it; once."""

    side: str
    number: int
    act: Act
    applied_at: float | None = None  # time.monotonic


@dataclass
class Wiring:
    """What all taps of a process share."""

    note: Callable[[str, bytes], None]  # (side, batch id)
    injection: Injection | None = None
    earlier: dict[tuple[str, int, int], bytes] = field(default_factory=dict)  # (side, kind, length): a frame, once sent
    live: set[Tap] = field(default_factory=set)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def due(self, side: str, number: int) -> Injection | None:
        """The injection, if this is its moment; from now on it has happened."""
        with self.guard:
            found = self.injection
            if found is None or found.applied_at is not None or (found.side, found.number) != (side, number):
                return None
            found.applied_at = time.monotonic()
            return found


class Tap:
    """Stands for the stream."""

    def __init__(self, stream: Any, side: str, wiring: Wiring) -> None:
        self._stream, self.side, self.wiring = stream, side, wiring
        self.sent = 0
        self.mute = False  # nothing more leaves
        self.held = b""  # sent after the next frame
        self._own: list[bytes] = []  # what left on this connection
        self._seen = _Reserved()
        self._reserved = b""  # the batch that the client has named last
        wiring.live.add(self)

    def send(self, *parts: Any) -> None:
        frame, number = bytearray(b"".join(bytes(part) for part in parts)), self.sent
        self.sent += 1
        kind = frame[0]
        if self.side == "client" and kind == Kind.RESERVE:
            self._reserved = bytes(frame[HEADER.size : HEADER.size + BATCH_ID])
        if self.side == "client" and kind == Kind.INPUT:
            self.wiring.note("client", self._reserved)
        if self.side == "server" and kind in (Kind.LABELS, Kind.RESULT) and (used := self._seen.take()):
            self.wiring.note("server", used)
        if self.mute:
            return
        injection = self.wiring.due(self.side, number)
        if self.held:
            held, self.held = self.held, b""
            self.forward(frame, held)
        elif injection is not None:
            injection.act(self, frame)
        else:
            self.forward(frame)
            self._own.append(bytes(frame))
            self.wiring.earlier[self.side, kind, len(frame)] = bytes(frame)

    def forward(self, *parts: bytes | bytearray) -> None:
        """Sends as it is."""
        self._stream.send(*parts)

    def earlier(self, frame: bytearray) -> bytes | None:
        """A frame of the same kind and length from before, as it would be numbered now."""
        found = self.wiring.earlier.get((self.side, frame[0], len(frame)))
        return None if found is None else bytes(frame[: HEADER.size]) + found[HEADER.size :]

    def own(self) -> list[bytes]:
        """The frames that left on this connection."""
        return self._own

    def receive_into(self, view: memoryview) -> int:
        count: int = self._stream.receive_into(view)
        if self.side == "server":
            self._seen.feed(bytes(view[:count]))
        return count

    def close(self) -> None:
        self.wiring.live.discard(self)
        self._stream.close()

    def finish(self) -> None:
        self.wiring.live.discard(self)
        self._stream.finish()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Reserved:
    """Finds the batch ids of RESERVE frames in a stream of bytes."""

    def __init__(self) -> None:
        self._head, self._skip, self._batch = bytearray(), 0, b""

    def feed(self, content: bytes) -> None:
        while content:
            if self._skip:
                taken = min(self._skip, len(content))
                self._skip, content = self._skip - taken, content[taken:]
                continue
            want = HEADER.size + (BATCH_ID if self._head[:1] == bytes([Kind.RESERVE]) else 0)
            taken = min(max(1, want - len(self._head)), len(content))
            self._head += content[:taken]
            content = content[taken:]
            want = HEADER.size + (BATCH_ID if self._head[0] == Kind.RESERVE else 0)
            if len(self._head) >= want:
                if self._head[0] == Kind.RESERVE:
                    self._batch = bytes(self._head[HEADER.size :])
                self._skip = max(0, HEADER.unpack_from(self._head)[3] - (want - HEADER.size))
                self._head.clear()

    def take(self) -> bytes:
        """The id of the last RESERVE, once."""
        found, self._batch = self._batch, b""
        return found


@contextlib.contextmanager
def tapped(note: Callable[[str, bytes], None]) -> Any:
    """While open, every new `Channel` of this process has a tap; gives the `Wiring`."""
    wiring, init = Wiring(note), Channel.__init__

    def tapping(self: Channel, stream: Any, peer: str, timeout_s: float) -> None:
        init(self, Tap(stream, "client" if peer == "server" else "server", wiring), peer, timeout_s)

    Channel.__init__ = tapping  # type: ignore[method-assign]
    try:
        yield wiring
    finally:
        Channel.__init__ = init  # type: ignore[method-assign]
