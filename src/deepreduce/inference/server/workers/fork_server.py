"""Worker processes that prepare, so that what is heavy shares neither Python's lock nor priority with predictions.

A *nursery* is a fresh process with one thread. It transforms the weights once and then forks a *worker* for each
session that prepares: workers share its memory, and their sessions' keys are nowhere else. A worker speaks to the
session's thread alone, which has the client's connection and does the sending and receiving for it, frame by frame,
with all checks and time limits. When a batch is done its arrays move to the session, and the worker's are overwritten.
A worker ends with its session; one that dies costs the batch that it was preparing.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from .... import _core
from ....errors import PlanError, SessionError
from ....plan import Plan
from ....plan.execution.messages import Protocol
from ...core_dumps import forbid_as_parent
from ...protocol.linear import OfflineLinear, offline_linears
from ...protocol.material import Plain, ServerMaterial
from ...protocol.nonlinear.vector import Bytes
from ...protocol.program import Program, compile_plan
from ...protocol.server_offline import LocalOffline, Masks, Vectors
from ...subprocess_call import Child
from ...transport.channel import Channel, Kind
from ...transport.meter import Meter, Phase
from ...zeroize import wipe
from .ipc import Head, Link

NICE = 5  # workers' priority is that much lower: a quarter of a core that predictions want, too
WORKER_S = 120.0  # a worker that says nothing for that long is given up
ORDER = 256  # bytes at most
PROGRAMS = 8  # of protocols and batch sizes, kept compiled
NO_PHASE = {"seconds": 0.0, "rounds": 0, "ops": {}}


class WorkerError(SessionError):
    """A worker process is no more, or has failed."""


class Nursery:
    """Starts the process, again if it should die, and asks it for workers. Raises `PlanError` like `offline_linears`.

    ``orders``: the end of a socket pair where workers are ordered; other processes of this server may use it, too.
    """

    def __init__(self, plan: Plan, weights: Mapping[str, NDArray[Any]], threads: int) -> None:
        self._start = (plan, dict(weights), threads, _core.cpu_path())
        self.orders, self._taken = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._guard = threading.Lock()
        self._child = self._begin()

    def worker(self, protocol: Protocol, batch: int) -> socket.socket:
        """A connection to a new worker. Raises `WorkerError`."""
        self.keep_alive()
        return order(self.orders, protocol, batch)

    def keep_alive(self) -> bool:
        """Starts the process again if it has died; whether it had. Raises `WorkerError`, `OSError`."""
        with self._guard:
            if self._child.alive():
                return False
            self._child.__exit__(None, None, None)
            self._child = self._begin()
            return True

    def close(self) -> None:
        """Workers end with their sessions."""
        with self._guard:
            self._child.__exit__(None, None, None)
            self.orders.close()
            self._taken.close()

    def _begin(self) -> Child:
        # One thread: it forks. The BLAS library of numpy would have others.
        child = Child(_nursery, self._taken.fileno(), *self._start, fds=[self._taken.fileno()], threads="1")
        try:
            kind, *content = child.pipe.recv()
        except EOFError:
            child.__exit__(None, None, None)
            raise WorkerError("the process that starts workers has ended", "is there enough memory?") from None
        if kind == "error":
            child.__exit__(None, None, None)
            raise PlanError(*content)
        return child


class Ordered:
    """A nursery of another process, by the socket that it was handed."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders

    def worker(self, protocol: Protocol, batch: int) -> socket.socket:
        """A connection to a new worker. Raises `WorkerError`."""
        return order(self._orders, protocol, batch)

    def close(self) -> None:
        """The nursery goes on."""
        self._orders.close()


def order(orders: socket.socket, protocol: Protocol, batch: int) -> socket.socket:
    """A connection to a worker that is about to be forked. Raises `WorkerError`."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            socket.send_fds(orders, [f"{protocol} {batch}".encode()], [theirs.fileno()])
        except OSError as error:
            ours.close()
            raise WorkerError(f"no worker process can be started: {error}", "connect again") from error
    ours.settimeout(WORKER_S)
    return ours


class RemoteOffline:
    """The offline phase of a session, computed by a worker: `offline.Offline`."""

    def __init__(
        self, program: Program, channel: Channel, sock: socket.socket, threads: int, computing: threading.Semaphore
    ) -> None:
        self._program, self._channel, self._threads, self._computing = program, channel, threads, computing
        self._link = Link(sock)

    def set_up(self, request: Bytes) -> None:
        """Agrees on keys, which stay in the worker."""
        self._relay({"do": "set-up"}, request)

    def run(self) -> tuple[Masks, Vectors]:
        """One batch."""
        done = self._relay({"do": "prepare"})
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
        raise WorkerError(f"a worker process is no more: {error}", "connect again") from error


# --- in the nursery -------------------------------------------------------------------------------------------------


def _nursery(
    pipe: Connection, fd: int, plan: Plan, weights: dict[str, NDArray[Any]], threads: int, cpu_path: str
) -> None:
    """Transforms the weights, then forks a worker for each order, until the owner is gone."""
    from ...protocol import base_ot  # noqa: F401  # what every worker needs is loaded once

    _core.select_cpu_path(cpu_path)
    with contextlib.suppress(OSError):  # where Linux groups processes by session, priorities within do not count
        Path("/proc/self/autogroup").write_text(str(NICE))
    forbid_as_parent()  # after that the file is root's
    orders = socket.socket(fileno=fd)
    started = time.perf_counter()
    try:
        linears = offline_linears(plan, weights, threads)
    except PlanError as error:
        pipe.send(("error", error.message, error.hint))
        return
    weights.clear()
    for linear in linears.values():
        linear.layout.warm()
    compiled = functools.lru_cache(PROGRAMS)(lambda protocol, batch: compile_plan(plan, protocol, batch))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers
    pipe.send(("ready", time.perf_counter() - started))
    while pipe not in wait([pipe, orders]):
        text, fds, _, _ = socket.recv_fds(orders, ORDER, 1)
        if not fds:  # the owner is gone
            return
        with socket.socket(fileno=fds[0]) as session:
            protocol, _, batch = text.decode().partition(" ")
            program = compiled(protocol, int(batch))
            gc.freeze()  # the collector of a worker would write to every page otherwise
            with contextlib.suppress(OSError):  # no memory, or too many processes: the session finds its end closed
                if os.fork() == 0:
                    pipe.close()
                    orders.close()
                    _work(Link(session), program, linears, threads)


def _work(link: Link, program: Program, linears: dict[str, OfflineLinear], threads: int) -> NoReturn:
    """A worker's life."""
    try:
        os.nice(NICE)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which a whole service may get: a server first finishes
        with contextlib.suppress(OSError):  # the session is over
            _Worker(link, program, linears, threads).serve()
    finally:
        os._exit(0)


class _Worker:
    """Serves one session."""

    def __init__(self, link: Link, program: Program, linears: dict[str, OfflineLinear], threads: int) -> None:
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
                    self._prepare()
            except SessionError as error:
                return self._link.send({"do": "refused", "text": error.message})
            except OSError:
                raise
            except Exception as error:  # the session is told; the operator finds the kind in the log
                return self._link.send({"do": "failed", "text": type(error).__name__})
            finally:
                _core.wipe_residue()

    def _prepare(self) -> None:
        phase = Phase()
        with self._wire.meter.phase(phase):
            masks, vectors = self._offline.run()
        arrays = ServerMaterial(masks, vectors, b"", phase).plain().arrays
        described = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
        seconds = {name: op.seconds for name, op in phase.ops.items()}
        self._link.send({"do": "done", "arrays": described, "seconds": seconds}, *arrays.values())
        wipe(*arrays.values())  # used once, and by the session


class _Relayed:
    """A channel of which the session's thread has the other half: `transport.Wire`."""

    def __init__(self, link: Link) -> None:
        self.meter = Meter()
        self._link = link

    def send(self, kind: Kind, *parts: Bytes | bytes, op: str = "", background: bool = False) -> None:
        """One frame, which may still be on its way when this returns."""
        self._link.send({"do": "send", "kind": int(kind), "op": op}, *parts)

    def receive(self, kind: Kind, length: int, op: str = "") -> Bytes:
        """The content of the next frame."""
        self._link.send({"do": "receive", "kind": int(kind), "length": length, "op": op})
        _, size = self._link.receive()
        content: Bytes = self._link.take(np.empty(size, np.uint8))
        return content
