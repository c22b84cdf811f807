"""Frames over a byte stream: all bytes are counted, and a frame of another kind, order or length is an error.

A frame is a header of 8 bytes (kind, a zero byte, sequence number mod 2^16, length, little-endian) and its content.
Every length is known from the plan before the frame arrives, so nothing is allocated on a peer's word; only the hello
has a maximum instead.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import SessionError
from .errors import BusyError, CertificateError, LostError, PeerError, SilenceError
from .frames import BUSY, HEADER, OF_A_PREPARATION, REASONS, Kind, Reason
from .limit import LIMIT, NO_LIMIT, Limit, limit_of
from .meter import Meter

Bytes = NDArray[np.uint8]
FAREWELL_S = 0.1  # for a frame of one byte
DISCARD_BYTES = 1 << 16  # at a time
DISCARDED = 1 << 26  # bytes of a frame that is skipped on the way to a reason


class Stream(Protocol):
    """A connected byte stream. One thread may send while another receives."""

    def send(self, *parts: Any) -> None:
        """Sends all bytes of all parts."""

    def receive_into(self, view: memoryview) -> int:
        """Fills a part of the view; 0 at the end of the stream."""

    def readable(self) -> bool:
        """Return whether there is something to receive, or the end of the stream."""

    def set_timeout(self, seconds: float) -> None:
        """Set the longest wait of one step of sending or receiving."""

    def finish(self) -> None:
        """Ends our direction, gives the peer a moment to read what was sent, and closes."""

    def shutdown(self) -> None:
        """Shuts down both directions while another thread uses the stream; that thread still closes it."""

    def close(self) -> None:
        """Ends both directions; a blocked peer thread wakes up."""


class Wire(Protocol):
    """Interface of a channel as a protocol phase uses it."""

    meter: Meter

    def send(self, kind: Kind, *parts: Bytes | bytes, op: str = "", background: bool = False) -> None:
        """One frame."""

    def receive(self, kind: Kind, length: int, op: str = "") -> Bytes:
        """Return the content of the next frame, which must be of this kind and length."""


class Channel:
    """One side of a session's connection. One thread may send while another receives.

    A frame must be complete within ``timeout_s`` of its header, however slowly it trickles.
    """

    def __init__(self, stream: Stream, peer: str, timeout_s: float) -> None:
        self.meter = Meter()
        self._stream = stream
        self._peer = peer  # "server" or "client", for messages
        self._timeout_s = timeout_s
        self._deadline = 0.0
        self._sending = threading.Lock()
        self._sent = self._received = 0
        self._digests: tuple[Any, Any] | None = None
        self._unread = 0  # bytes of a refused request that may still come

    def send(self, kind: Kind, *parts: Bytes | bytes, op: str = "", background: bool = False) -> None:
        """One frame of all parts in turn, booked under ``op``. ``background``: a round is not begun by it."""
        length = sum(len(part) for part in parts)
        with self._sending:
            header = HEADER.pack(kind, 0, self._sent & 0xFFFF, length)
            self._sent += 1
            try:
                with self._stream_errors():
                    self._stream.send(header, *parts)
            except SessionError:
                if not background and kind not in (Kind.ERROR, Kind.BYE):
                    self._raise_reason()
                raise
            if self._digests:
                _update(self._digests[0], header, *parts)
        self.meter.sent(op, HEADER.size + length, background)

    def receive(self, kind: Kind, length: int, op: str = "") -> Bytes:
        """Return the content, uint8 [length], of the next frame, which must be of this kind and length."""
        return self._receive(kind, length, length, op)

    def receive_upto(self, kind: Kind, limit: int) -> bytes:
        """Return the content of the next frame, which must be of this kind and no longer than ``limit`` bytes."""
        return self._receive(kind, 0, limit, "").tobytes()

    def receive_either(self, limits: dict[Kind, int]) -> tuple[Kind, bytes]:
        """Return the next frame, which must be of one of the kinds and no longer than that kind's limit."""
        found, length = self._header()
        kind = next((one for one in limits if one == found), None)
        if kind is None:
            raise self._malformed(f"a frame of kind {found} instead of {', '.join(one.name for one in limits)}")
        if length > limits[kind]:
            raise self._malformed(f"a {kind.name} frame of {length} bytes, {limits[kind]} expected")
        return kind, self._content(length, "").tobytes()

    def next_of(self, lengths: dict[Kind, int], idle_s: float) -> Kind:
        """Waits up to ``idle_s`` for a frame of one of the kinds, with that kind's length; its content is `content`."""
        kind, length = self._next_header(idle_s)
        while kind in OF_A_PREPARATION and HEADER.size + length <= self._unread:
            self._unread -= HEADER.size + length
            self._discard(length)
            kind, length = self._next_header(idle_s)
        self._unread = 0
        expected = next((k for k in lengths if k == kind), None)
        if expected is None:
            raise self._malformed(f"a frame of kind {kind} instead of {', '.join(k.name for k in lengths)}")
        if length != lengths[expected]:
            raise self._malformed(f"a {expected.name} frame of {length} bytes instead of {lengths[expected]}")
        return expected

    def content(self, length: int) -> Bytes:
        """Return the content of the frame that `next_of` announced."""
        return self._content(length, "")

    def refuse(self, busy: BusyError, unread: int) -> None:
        """Tells the client that the server is busy; of what it asked for up to ``unread`` bytes may still come."""
        self.send(Kind.BUSY, BUSY.pack(busy.retry_s, busy.renew), busy.limit.encoded())
        self._unread = unread

    def turn_away(self, busy: BusyError) -> None:
        """Tells a client that comes in that the server is busy, and closes."""
        with suppress(SessionError, OSError):
            self.refuse(busy, 0)
        self._stream.finish()

    def answer_and_end(self, kind: Kind, content: bytes) -> None:
        """Sends a last frame, if the peer still listens, and closes."""
        with suppress(SessionError, OSError):
            self.send(kind, content)
        self._stream.finish()

    def set_timeout(self, seconds: float) -> None:
        """Set how long the peer may be silent from now on."""
        self._timeout_s = seconds
        self._stream.set_timeout(seconds)

    def readable(self) -> bool:
        """Return whether unread bytes, or the end of the stream, have arrived."""
        return self._stream.readable()

    def check_open(self) -> None:
        """Raises `SessionError` if the peer has ended the session while it was idle."""
        if self._stream.readable():
            kind, _ = self._header()
            raise self._malformed(f"an unexpected frame of kind {kind}")

    def fail(self, reason: Reason, limit: Limit | None = None) -> None:
        """Tells the peer why the session ends, and which ``limit`` was reached, if it still listens, and closes."""
        with suppress(SessionError, OSError):
            self.send(Kind.ERROR, bytes([reason]), b"" if limit is None else limit.encoded())
        self._stream.finish()

    def farewell(self, reason: Reason) -> bool:
        """Tell an idle peer, from another thread, why the session ends. Returns False while a frame is being sent.

        A peer that reads nothing, for which a frame may wait long, is not waited for.
        """
        if self._sending.locked():
            return False
        self._stream.set_timeout(FAREWELL_S)
        with suppress(SessionError, OSError):
            self.send(Kind.ERROR, bytes([reason]))
        return True

    def wait_for_end(self, seconds: float) -> None:
        """Wait until the peer has closed the connection, after our BYE; what still comes is discarded."""
        deadline, buffer = time.monotonic() + seconds, memoryview(bytearray(DISCARD_BYTES))
        with suppress(SessionError, OSError):
            self._stream.set_timeout(seconds)
            while self._stream.receive_into(buffer) and time.monotonic() < deadline:
                pass

    def abort(self) -> None:
        """Make running sends and receives fail at once; may be called from another thread."""
        self._stream.shutdown()

    def close(self) -> None:
        """Ends the connection."""
        self._stream.close()

    @contextmanager
    def transcript(self) -> Iterator[tuple[Any, Any]]:
        """While open, every frame is hashed: (sent, received) SHA-256."""
        self._digests = hashlib.sha256(), hashlib.sha256()
        try:
            yield self._digests
        finally:
            self._digests = None

    def _receive(self, kind: Kind, least: int, most: int, op: str) -> Bytes:
        found, length = self._header()
        if found != kind:
            raise self._malformed(f"a frame of kind {found} instead of {kind.name}")
        if not least <= length <= most:
            raise self._malformed(f"a {kind.name} frame of {length} bytes, {most} expected")
        return self._content(length, op)

    def _header(self) -> tuple[int, int]:
        header = bytearray(HEADER.size)
        self._deadline = float("inf")  # waiting for the peer to work; the stream's own limit holds
        self._fill(memoryview(header))
        self._deadline = time.monotonic() + self._timeout_s
        kind, zero, sequence, length = HEADER.unpack(header)
        if kind == Kind.ERROR and zero == 0 and length in (1, 1 + LIMIT.size):
            content = bytearray(length)
            self._fill(memoryview(content))
            raise self._told(content)
        if zero or sequence != self._received & 0xFFFF:
            raise self._malformed(f"frame number {sequence} instead of {self._received & 0xFFFF}")
        self._received += 1
        if kind == Kind.BUSY and length == BUSY.size + LIMIT.size and self._peer == "server":
            content = bytearray(length)
            self._fill(memoryview(content))
            retry_s, renew = BUSY.unpack(content[: BUSY.size])
            raise BusyError(retry_s, renew, limit_of(content[BUSY.size :]))
        if self._digests:
            self._digests[1].update(header)
        return kind, length

    def _told(self, content: bytearray) -> PeerError:
        """Return the error that the peer gives as the reason for the end."""
        text, hint = REASONS.get(content[0], ("it gave an unknown reason", ""))  # type: ignore[call-overload]
        limit = limit_of(content[1:]) if len(content) > 1 else NO_LIMIT
        if limit.text:
            text, hint = f"{text}: {limit.text}", limit.hint or hint
        return PeerError(f"the {self._peer} ended the session: {text}", hint, content[0], limit)

    def _next_header(self, idle_s: float) -> tuple[int, int]:
        """Receive the header of a frame that may be long in coming."""
        with self._stream_errors():
            self._stream.set_timeout(idle_s)
            found = self._header()
            self._stream.set_timeout(self._timeout_s)
        return found

    def _discard(self, length: int) -> None:
        """Read and discard a frame's content."""
        buffer = memoryview(bytearray(min(length, DISCARD_BYTES)))
        while length:
            self._fill(buffer[: min(length, len(buffer))])
            length -= min(length, len(buffer))

    def _content(self, length: int, op: str) -> Bytes:
        content = np.empty(length, np.uint8)
        self._fill(memoryview(content))  # type: ignore[arg-type]
        if self._digests:
            _update(self._digests[1], content)
        self.meter.received(op, HEADER.size + length)
        return content

    def _fill(self, view: memoryview) -> None:
        with self._stream_errors():
            while len(view):
                got = self._stream.receive_into(view)
                if not got:
                    raise LostError(
                        f"the {self._peer} closed the connection in the middle of a message",
                        "connect again",
                    )
                view = view[got:]
                if len(view) and time.monotonic() > self._deadline:
                    raise TimeoutError
                # What has begun, be it a header, has an end.
                self._deadline = min(self._deadline, time.monotonic() + self._timeout_s)

    def _raise_reason(self) -> None:
        """After a failed send: the peer may have said why it stopped listening."""
        try:
            self._stream.set_timeout(1.0)
            while True:
                _, length = self._header()
                self._content(min(length, DISCARDED), "")
        except (PeerError, CertificateError):
            raise
        except (SessionError, OSError):
            return

    def _malformed(self, what: str) -> SessionError:
        return SessionError(f"the {self._peer} sent {what}", "it may be another version; connect again")

    @contextmanager
    def _stream_errors(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise SilenceError(
                f"the {self._peer} was silent for too long", "connect again, or allow more time"
            ) from None
        except OSError as error:
            if any(word in (getattr(error, "reason", None) or "") for word in ("CERTIFICATE", "UNKNOWN_CA")):
                raise CertificateError(
                    f"the {self._peer} denied access: it asks for a certificate of an authority that it knows",
                    "give one that is signed by an authority of the server's: `tls_cert` and `tls_key`",
                ) from None
            raise LostError(f"the connection to the {self._peer} broke: {error}", "connect again") from None


def _update(digest: Any, *parts: Bytes | bytes) -> None:
    for part in parts:
        digest.update(part)
