"""A link between two processes of one machine: a relay that lets bytes through at a rate and after a delay.

Each direction is a line of its own. A piece of n bytes that the relay reads at time t is on the line until d, which is
n / rate after t or after the d of the piece before, whichever is later, and is handed over half the round trip after d.
Reading stops while more than the line holds (rate times delay, and a short queue) is under way, so that a sender feels
the rate as on a real link. What is not modeled: loss, jitter, and TCP's slow start across the delay.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from ..errors import SessionError
from ..inference.subprocess_call import Child, wait_for_parent
from ..plan.cost.network_link import NetworkLink

QUEUE_BYTES = 1 << 17  # before the line, as a router's
PIECE_S = 0.0005  # of the line's time that one piece takes; all of it is late by the rest of the piece
MIN_PIECE, MAX_PIECE = 1 << 12, 1 << 18  # bytes
START_S = 30.0  # to wait for the process


class LinkEmulator:
    """A process that listens on a ``port`` of 127.0.0.1 and relays every connection to a target over a link of its own.

    A context manager; leaving it ends the process. Raises `SessionError` when the process does not start.
    """

    def __init__(self, link: NetworkLink, host: str, port: int) -> None:
        self._child = Child(_serve, link, host, port)
        try:
            if not self._child.pipe.poll(START_S):
                raise EOFError
            self.port: int = self._child.pipe.recv()
        except EOFError:
            self._child.__exit__(None, None, None)
            raise SessionError("the relay did not start", "are there free ports and processes?") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.__exit__(kind, error, trace)


class Line:
    """One direction: the schedule of pieces under way. `put` blocks while the line is full."""

    def __init__(self, link: NetworkLink) -> None:
        self._seconds_per_byte, self._delay = 8 / link.rate, link.round_trip / 2
        self._room = link.rate / 8 * self._delay + QUEUE_BYTES + 2 * piece_bytes(link)
        self._pieces: deque[tuple[float, bytes]] = deque()  # (handed over at, content); an empty one ends the line
        self._held = 0
        self._free_at = 0.0
        self._changed = threading.Condition()

    def put(self, content: bytes, now: float) -> None:
        """A piece that was read ``now`` (`time.monotonic`)."""
        with self._changed:
            while self._held and self._held + len(content) > self._room:
                self._changed.wait()
            self._free_at = max(now, self._free_at) + len(content) * self._seconds_per_byte
            self._pieces.append((self._free_at + self._delay, content))
            self._held += len(content)
            self._changed.notify_all()

    def get(self) -> bytes:
        """Return the next piece, when it is due."""
        with self._changed:
            while not self._pieces:
                self._changed.wait()
            due, content = self._pieces.popleft()
        if (left := due - time.monotonic()) > 0:
            time.sleep(left)
        with self._changed:
            self._held -= len(content)
            self._changed.notify_all()
        return content


def piece_bytes(link: NetworkLink) -> int:
    """Bytes that are read at once."""
    return int(min(MAX_PIECE, max(MIN_PIECE, link.rate / 8 * PIECE_S)))


def _serve(pipe: Connection, link: NetworkLink, host: str, port: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listener, link, host, port), daemon=True).start()
    pipe.send(listener.getsockname()[1])
    wait_for_parent(pipe)


def _accept(listener: socket.socket, link: NetworkLink, host: str, port: int) -> None:
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection((host, port), START_S)
        except OSError:
            near.close()
            continue
        far.settimeout(None)
        for source, sink in ((near, far), (far, near)):
            sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = Line(link)
            threading.Thread(target=_read, args=(source, line, piece_bytes(link)), daemon=True).start()
            threading.Thread(target=_write, args=(line, sink, source), daemon=True).start()


def _read(source: socket.socket, line: Line, piece: int) -> None:
    content = b"."
    while content:
        try:
            content = source.recv(piece)
        except OSError:
            content = b""
        line.put(content, time.monotonic())


def _write(line: Line, sink: socket.socket, source: socket.socket) -> None:
    try:
        while content := line.get():
            sink.sendall(content)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (sink, source):  # a party that still sends in this direction learns that the other has stopped
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
