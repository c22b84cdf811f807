"""The session's half of a worker: relays its frames to the client."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from ....errors import SessionError
from ...protocol.material import Plain, ServerMaterial
from ...protocol.nonlinear.vector import Bytes
from ...protocol.program import Program
from ...protocol.server_offline import Masks, Vectors
from ...transport.channel import Channel
from ...transport.frames import Kind
from ...zeroize import wipe
from .ipc import Head, WorkerPipe
from .worker import NO_PHASE

WORKER_S = 120.0  # a worker that says nothing for that long is given up


class WorkerError(SessionError):
    """An error for a worker process that has ended or failed."""


class RemoteOffline:
    """The offline phase of a session, computed by a worker: `deepreduce.inference.protocol.server_offline.Offline`."""

    def __init__(
        self, program: Program, channel: Channel, sock: socket.socket, threads: int, computing: threading.Semaphore
    ) -> None:
        self._program, self._channel, self._threads, self._computing = program, channel, threads, computing
        self._link = WorkerPipe(sock)

    def set_up(self, request: Bytes) -> None:
        """Agrees on keys, which stay in the worker."""
        self._relay({"do": "set-up"}, request)

    def run(self, batch_id: bytes) -> tuple[Masks, Vectors]:
        """Return one batch."""
        done = self._relay({"do": "prepare", "batch": batch_id.hex()})
        with _worker_errors():
            arrays = {name: np.empty(shape, kind) for name, kind, shape in done["arrays"]}
            try:
                for array in arrays.values():
                    self._link.take(array)
            except BaseException:
                wipe(*arrays.values())
                raise
        for op, seconds in done["seconds"].items():
            self._channel.meter.spent(op, seconds)
        restored = ServerMaterial.restored(self._program, Plain(arrays, {"offline": NO_PHASE}), b"", self._threads)
        return restored.linear_masks, restored.vectors

    def close(self) -> None:
        """The worker ends."""
        self._link.close()

    def _relay(self, head: Head, *body: Bytes) -> Head:
        """Sends and receives for the worker until it is done."""
        told: tuple[Any, ...] = (head, *body)
        while True:
            with self._computing, _worker_errors():
                if told:
                    self._link.send(*told)
                wish, size = self._link.receive()
                content = self._link.take(np.empty(size, np.uint8)) if wish["do"] == "send" else None
            told = ()
            match wish["do"]:
                case "send":
                    assert content is not None
                    self._channel.send(Kind(wish["kind"]), content, op=wish["op"])
                case "receive":
                    told = ({"do": "content"}, self._channel.receive(Kind(wish["kind"]), wish["length"], op=wish["op"]))
                case "done":
                    return wish
                case "refused":
                    raise SessionError(wish["text"])
                case _:
                    raise WorkerError(f"a worker process failed: {wish['text']}")


@contextlib.contextmanager
def _worker_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkerError(f"a worker process has ended: {error}", "connect again") from error
