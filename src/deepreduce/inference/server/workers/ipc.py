"""Messages between processes of one server over a socket pair: a small JSON head, then arrays as they are.

Both ends are ours. What is secret passes through the kernel's buffers only, and straight into the receiver's arrays.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....files import parse_json

HEAD = struct.Struct("<IQ")  # bytes of the head, bytes of the body
MOST_HEAD, MOST_BODY = 1 << 24, 1 << 40
Head = dict[str, Any]


class WorkerPipe:
    """One end. Every method raises `OSError` when the other end is gone, or silent beyond the socket's timeout."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, head: Head, *body: NDArray[Any] | bytes) -> None:
        """One message."""
        text = json.dumps(head).encode()
        parts = [memoryview(part).cast("B") for part in body if len(part)]  # type: ignore[arg-type]
        self._socket.sendall(HEAD.pack(len(text), sum(map(len, parts))) + text)
        for part in parts:
            self._socket.sendall(part)

    def receive(self) -> tuple[Head, int]:
        """Return the head of the next message, and how many bytes of body follow, all of which must be taken."""
        length, body = HEAD.unpack(self._exactly(HEAD.size))
        if length > MOST_HEAD or body > MOST_BODY:
            raise ConnectionError("the other process sent no message")
        try:
            head: Head = parse_json(bytes(self._exactly(length)))
        except ValueError:
            raise ConnectionError("the other process sent no message") from None
        return head, body

    def take(self, array: NDArray[Any]) -> NDArray[Any]:
        """Fills an array with the next bytes of the body, and returns it."""
        if array.size:
            self._fill(memoryview(array.reshape(-1).view(np.uint8)))  # type: ignore[arg-type]
        return array

    def close(self) -> None:
        """The other end reads the end of the stream."""
        self._socket.close()

    def _exactly(self, length: int) -> bytearray:
        content = bytearray(length)
        self._fill(memoryview(content))
        return content

    def _fill(self, view: memoryview) -> None:
        while len(view):
            got = self._socket.recv_into(view)
            if not got:
                raise ConnectionResetError("the other process has ended")
            view = view[got:]
