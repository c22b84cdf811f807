"""A worker process: serves the offline phase of one session."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import NoReturn

import numpy as np

from .... import _core
from ....errors import SessionError
from ...protocol.linear import OfflineLinear
from ...protocol.material import ServerMaterial
from ...protocol.nonlinear.vector import Bytes
from ...protocol.program import Program
from ...protocol.server_offline import LocalOffline
from ...transport.frames import Kind
from ...transport.meter import Meter, Phase
from ...zeroize import wipe
from .ipc import WorkerPipe

NICE = 5  # workers' priority is that much lower: a quarter of a core that predictions want, too


NO_PHASE = {"seconds": 0.0, "rounds": 0, "ops": {}}


def _work(link: WorkerPipe, program: Program, linears: dict[str, OfflineLinear], threads: int) -> NoReturn:
    """Return a worker's life."""
    try:
        os.nice(NICE)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which a whole service may get: a server first finishes
        with contextlib.suppress(OSError):  # the session is over
            _Worker(link, program, linears, threads).serve()
    finally:
        os._exit(0)


class _Worker:
    """Serves one session."""

    def __init__(self, link: WorkerPipe, program: Program, linears: dict[str, OfflineLinear], threads: int) -> None:
        self._link = link
        self._wire = _Relayed(link)
        self._offline = LocalOffline(program, linears, self._wire, threads)

    def serve(self) -> None:
        """Until the session closes its end (`OSError`), or something fails."""
        while True:
            head, size = self._link.receive()
            try:
                if head["do"] == "set-up":
                    self._offline.set_up(self._link.take(np.empty(size, np.uint8)))
                    self._link.send({"do": "done"})
                else:
                    self._prepare(bytes.fromhex(head["batch"]))
            except SessionError as error:
                return self._link.send({"do": "refused", "text": error.message})
            except OSError:
                raise
            except Exception as error:  # the session is told; the operator finds the kind in the log
                return self._link.send({"do": "failed", "text": type(error).__name__})
            finally:
                _core.wipe_residue()

    def _prepare(self, batch_id: bytes) -> None:
        phase = Phase()
        with self._wire.meter.phase(phase):
            masks, vectors = self._offline.run(batch_id)
        arrays = ServerMaterial(masks, vectors, b"", phase).plain().arrays
        described = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
        seconds = {name: op.seconds for name, op in phase.ops.items()}
        self._link.send({"do": "done", "arrays": described, "seconds": seconds}, *arrays.values())
        wipe(*arrays.values())  # used once, and by the session


class _Relayed:
    """A channel of which the session's thread has the other half: `deepreduce.inference.transport.channel.Wire`."""

    def __init__(self, link: WorkerPipe) -> None:
        self.meter = Meter()
        self._link = link

    def send(self, kind: Kind, *parts: Bytes | bytes, op: str = "", background: bool = False) -> None:
        """One frame, which may still be on its way when this returns."""
        self._link.send({"do": "send", "kind": int(kind), "op": op}, *parts)

    def receive(self, kind: Kind, length: int, op: str = "") -> Bytes:
        """Return the content of the next frame."""
        self._link.send({"do": "receive", "kind": int(kind), "length": length, "op": op})
        _, size = self._link.receive()
        content: Bytes = self._link.take(np.empty(size, np.uint8))
        return content
