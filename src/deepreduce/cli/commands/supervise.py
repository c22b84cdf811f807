"""``deepreduce serve --processes N``: the process that starts the server processes and serves no client itself."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import typer

from ...errors import DeepReduceError
from ..server_options import ServeSettings
from ..signals import at_hangup
from ..units import shown_address

if TYPE_CHECKING:
    from ...inference.server import Supervisor
    from ...inference.server.workers import ForkServer
    from ...plan import Plan


def supervise(
    plan: Plan,
    weights: dict[str, Any],
    settings: ServeSettings,
    processes: int,
    grace_s: float,
    stop: threading.Event,
) -> None:
    """Run ``processes`` server processes until ``stop`` is set; SIGHUP is passed on to them.

    They are this command, run with a socket to accept from. Raises `SessionError` when one does not start.
    """
    from ...inference.server import Supervisor, emit, listening_socket
    from ...inference.server.workers import ForkServer
    from ...inference.store import hold_store

    with ExitStack() as stack:
        listener = stack.enter_context(listening_socket(settings.host, settings.port))
        store = settings.server.store
        lock = None if store is None else stack.enter_context(hold_store(store))
        fork_server = None
        if settings.server.workers:
            fork_server = ForkServer(plan, weights, settings.server.threads, settings.server.weight_bytes)
            stack.callback(fork_server.close)
        del weights
        orders = None if fork_server is None else fork_server.orders.fileno()
        supervisor = Supervisor(sys.argv[1:], processes, listener.fileno(), orders, lock)
        stack.callback(supervisor.end, grace_s)  # before the first process is there
        supervisor.start()
        line = supervisor.ready(stop)
        if line is None:  # stopped before all were ready
            return
        emit("serving", address=shown_address(settings.host, listener.getsockname()[1]), processes=processes)
        typer.echo(line.rstrip())
        sys.stdout.flush()
        at_hangup(supervisor.reload)
        _keep_alive(supervisor, fork_server, stop)
        emit("stopping", processes=processes)


def _keep_alive(supervisor: Supervisor, fork_server: ForkServer | None, stop: threading.Event) -> None:
    """Start again what dies, until ``stop``; a fork server that goes on dying waits longer each time."""
    from ...inference.server import LONGEST_RESTART_S, POLL_S, RESTART_S, emit

    pause_s, again = RESTART_S, 0.0
    while not stop.wait(POLL_S):
        supervisor.keep_alive()
        if fork_server is None or time.monotonic() < again:
            continue
        try:
            began = fork_server.keep_alive()
        except (DeepReduceError, OSError) as error:
            emit("failed", reason="workers", text=str(error))
            began = True
        if began:
            again = time.monotonic() + pause_s
            pause_s = min(2 * pause_s, LONGEST_RESTART_S)
