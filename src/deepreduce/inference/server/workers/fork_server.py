"""Worker processes that prepare, so that what is heavy shares neither Python's lock nor priority with predictions.

The *fork server* is a fresh process with one thread. It transforms the weights once and then forks a *worker* for each
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
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .... import _core
from ....errors import MissingPackageError, PlanError
from ....plan import Plan
from ....plan.execution.messages import Protocol
from ...core_dumps import forbid_as_parent
from ...protocol.linear import offline_linears
from ...protocol.program import compile_plan
from ...subprocess_call import Child
from .ipc import WorkerPipe
from .remote import WORKER_S, WorkerError
from .worker import NICE, _work

ORDER = 256  # bytes at most
PROGRAMS = 8  # of protocols and batch sizes, kept compiled


class ForkServer:
    """Starts the process, again if it should die, and asks it for workers. Raises `PlanError` like `offline_linears`.

    ``weight_bytes``: what transformed weights may take.
    ``orders``: the end of a socket pair where workers are ordered; other processes of this server may use it, too.
    """

    def __init__(self, plan: Plan, weights: Mapping[str, NDArray[Any]], threads: int, weight_bytes: int) -> None:
        self._start = (plan, dict(weights), threads, weight_bytes, _core.cpu_path())
        self.orders, self._taken = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._guard, self._closed = threading.Lock(), False
        self._child = self._begin()

    def worker(self, protocol: Protocol, batch: int) -> socket.socket:
        """Return a connection to a new worker. Raises `WorkerError`."""
        self.keep_alive()
        return order(self.orders, protocol, batch)

    def keep_alive(self) -> bool:
        """Starts the process again if it has died; whether it had. Raises `WorkerError`, `OSError`."""
        with self._guard:
            if self._closed:
                raise WorkerError("the server is closed", "connect again")
            if self._child.alive():
                return False
            self._child.__exit__(None, None, None)
            self._child = self._begin()
            return True

    def close(self) -> None:
        """Workers end with their sessions."""
        with self._guard:
            self._closed = True
            self._child.__exit__(None, None, None)
            self.orders.close()
            self._taken.close()

    def _begin(self) -> Child:
        # One thread: it forks. The BLAS library of numpy would have others.
        child = Child(_fork_server_main, self._taken.fileno(), *self._start, fds=[self._taken.fileno()], threads="1")
        try:
            kind, *content = child.pipe.recv()
        except EOFError:
            child.__exit__(None, None, None)
            raise WorkerError("the process that starts workers has ended", "is there enough memory?") from None
        if kind == "error":
            child.__exit__(None, None, None)
            raise PlanError(*content)
        return child


def order(orders: socket.socket, protocol: Protocol, batch: int) -> socket.socket:
    """Return a connection to a worker that is about to be forked. Raises `WorkerError`."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            socket.send_fds(orders, [f"{protocol} {batch}".encode()], [theirs.fileno()])
        except OSError as error:
            ours.close()
            raise WorkerError(f"no worker process can be started: {error}", "connect again") from error
    ours.settimeout(WORKER_S)
    return ours


# --- in the fork server
# -------------------------------------------------------------------------------------------------


def _fork_server_main(
    pipe: Connection,
    fd: int,
    plan: Plan,
    weights: dict[str, NDArray[Any]],
    threads: int,
    weight_bytes: int,
    cpu_path: str,
) -> None:
    """Transforms the weights, then forks a worker for each order, until the owner is gone."""
    from ...protocol.base_ot import check_supported  # what every worker needs is loaded once

    _core.select_cpu_path(cpu_path)
    with contextlib.suppress(OSError):  # where Linux groups processes by session, priorities within do not count
        Path("/proc/self/autogroup").write_text(str(NICE))
    forbid_as_parent()  # after that the file is root's
    orders = socket.socket(fileno=fd)
    started = time.perf_counter()
    try:
        check_supported()
        linears = offline_linears(plan, weights, threads, weight_bytes)
    except (MissingPackageError, PlanError) as error:
        pipe.send(("error", error.message, error.hint))
        return
    weights.clear()
    for linear in linears.values():
        linear.layout.warm()
    compiled = functools.lru_cache(PROGRAMS)(lambda protocol, batch: compile_plan(plan, protocol, batch))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers are not waited for
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
                    _work(WorkerPipe(session), program, linears, threads)
