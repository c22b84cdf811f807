"""Faults below TLS: a relay on 127.0.0.1 that harms one unit of one direction of one connection.

A unit is a TLS record, or a frame where there is no TLS. What a fault does to bytes inside of TLS ends the connection
with a failed authentication, so bytes are changed, lost, doubled and reordered there only.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from deepreduce.inference.transport.frames import HEADER

from .messages import SHORT_S

RECORD_HEADER = 5
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: the close is a reset
ANY_STREAM = ("cut", "reset", "half-closed", "stalled", "delayed", "shredded")
TLS_ONLY = ("flipped", "record lost", "record doubled", "records swapped", "bytes lost", "bytes doubled")


@dataclass(frozen=True, slots=True)
class WireFault:
    """``side``: who sends what is harmed. ``unit``: counted from 0; ``at``: where in it, 0 to 1."""

    name: str
    side: str
    unit: int
    at: float
    seed: int


class Relay:
    """Listens on ``port`` and hands every connection on to a target; a context manager, left when all threads are."""

    def __init__(self, target_port: int, tls: bool, fault: WireFault | None) -> None:
        self._target, self._tls, self.fault = target_port, tls, fault
        self.applied_at: float | None = None
        self.units = {"client": 0, "server": 0}  # whole ones that have passed
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._broken = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _wake(self._listener)
        self._threads[0].join()
        self._listener.close()
        for sock in self._sockets:
            _wake(sock)
        for thread in self._threads[1:]:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self._sockets += [near, far]
            pair = [
                threading.Thread(target=self._carry, args=(side, source, sink))
                for side, source, sink in (("client", near, far), ("server", far, near))
            ]
            self._threads += pair
            for thread, sink in zip(pair, (far, near), strict=True):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread.start()

    def reset(self, near: socket.socket, far: socket.socket) -> None:
        """Both ends of a connection get a reset; called by the thread of one direction."""
        self._broken = True
        for sock in (near, far):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            _wake(sock, socket.SHUT_RD)  # a socket that another thread reads would not be closed at once
        for thread in self._threads[1:]:
            if thread is not threading.current_thread():
                thread.join()
        near.close()
        far.close()

    def _carry(self, side: str, source: socket.socket, sink: socket.socket) -> None:
        """One direction, unit by unit."""
        direction = _Direction(self, side, source, sink)
        try:
            while (unit := self._read(source)) is not None:
                if not direction.carry(unit):
                    return
        except OSError:
            pass
        if not self._broken:
            _wake(sink, socket.SHUT_WR)

    def _read(self, source: socket.socket) -> bytes | None:
        """The next unit, or what there is of it at the end of the stream."""
        size = RECORD_HEADER if self._tls else HEADER.size
        head = _read_all(source, size)
        if len(head) < size:
            return head or None
        length = int.from_bytes(head[3:5], "big") if self._tls else HEADER.unpack(head)[3]
        return head + _read_all(source, length)


class _Direction:
    """Carries units, and harms one."""

    def __init__(self, relay: Relay, side: str, source: socket.socket, sink: socket.socket) -> None:
        self._relay, self._side, self._source, self._sink = relay, side, source, sink
        self._held = b""

    def carry(self, unit: bytes) -> bool:
        """False: nothing more is carried."""
        relay, fault, held = self._relay, self._relay.fault, self._held
        number = relay.units[self._side]
        relay.units[self._side] += 1
        if fault is None or (fault.side, fault.unit) != (self._side, number):
            self._sink.sendall(unit + held)
            self._held = b""
            return True
        relay.applied_at = time.monotonic()
        return self._harm(fault, unit)

    def _harm(self, fault: WireFault, unit: bytes) -> bool:
        draw, sink = random.Random(fault.seed), self._sink
        at = min(len(unit) - 1, int(fault.at * len(unit)))
        match fault.name:
            case "cut":
                sink.sendall(unit[:at])
                _wake(sink)
                _wake(self._source)
                return False
            case "reset":
                sink.sendall(unit[:at])
                self._relay.reset(sink, self._source)
                return False
            case "half-closed":
                sink.sendall(unit[:at])
                _wake(sink, socket.SHUT_WR)
                return False
            case "stalled":
                sink.sendall(unit[:at])
                return False
            case "delayed":
                time.sleep(draw.uniform(*SHORT_S))
                sink.sendall(unit)
            case "shredded":
                start = 0
                while start < min(len(unit), 256):
                    end = start + draw.randrange(1, 8)
                    sink.sendall(unit[start:end])
                    start = end
                sink.sendall(unit[start:])
            case "flipped":  # not in the header: its length would only make the relay's reader wait
                at = max(RECORD_HEADER, at)
                sink.sendall(unit[:at] + bytes([unit[at] ^ 1 << draw.randrange(8)]) + unit[at + 1 :])
            case "record lost":
                pass
            case "record doubled":
                sink.sendall(unit + unit)
            case "records swapped":
                self._held = unit
            case "bytes lost":
                sink.sendall(unit[:at] + unit[at + 1 + draw.randrange(64) :])
            case "bytes doubled":
                sink.sendall(unit[: at + 1] + unit[max(0, at - draw.randrange(64)) :])
            case _:
                raise ValueError(fault.name)
        return True


def _read_all(source: socket.socket, size: int) -> bytes:
    content = bytearray()
    while len(content) < size and (piece := source.recv(size - len(content))):
        content += piece
    return bytes(content)


def _wake(sock: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(how)
