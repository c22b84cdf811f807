"""``deepreduce serve --processes N``: the process that starts the server processes and serves no client itself."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import typer

from ...errors import DeepReduceError
from ..plan_folders import PlanFolders
from ..server_options import ServeSettings
from ..signals import at_hangup
from ..units import shown_address

if TYPE_CHECKING:
    from ...inference.server import Supervisor
    from ...inference.server.workers import ForkServers


def supervise(
    folders: PlanFolders, settings: ServeSettings, processes: int, grace_s: float, stop: threading.Event
) -> None:
    """Run ``processes`` server processes until ``stop`` is set; SIGHUP is passed on to them.

    They are this command, run with a socket to accept from. Raises `PlanError` for a plan that cannot be served,
    `SessionError` when a process does not start.
    """
    from ...inference.server import Supervisor, emit, listening_socket
    from ...inference.server.workers import ForkServers
    from ...inference.store import hold_store
    from ...plan import digest

    plans = folders.read_all()
    digests = {name: digest(plan) for name, (plan, _) in plans.items()}
    with ExitStack() as stack:
        listener = stack.enter_context(listening_socket(settings.host, settings.port))
        store = settings.server.store
        lock = None if store is None else stack.enter_context(hold_store(store))
        fork_servers = None
        if settings.server.workers:
            fork_servers = ForkServers(settings.server.threads, settings.server.max_weight_bytes)
            stack.callback(fork_servers.close)
            for name, (plan, weights) in plans.items():
                fork_servers.load(name, plan, weights)
        plans.clear()
        orders = None if fork_servers is None else fork_servers.requests.fileno()
        supervisor = Supervisor(sys.argv[1:], processes, listener.fileno(), orders, lock)
        stack.callback(supervisor.end, grace_s)  # before the first process is there
        supervisor.start()
        if not supervisor.ready(stop):  # stopped before all were ready
            return
        address = shown_address(settings.host, listener.getsockname()[1])
        emit("serving", address=address, processes=processes)
        for name, plan_digest in digests.items():
            typer.echo(f"serving {folders.shown(name)} {plan_digest} on {address}")
        sys.stdout.flush()
        at_hangup(lambda: _reload(folders, fork_servers, supervisor))
        _keep_alive(supervisor, fork_servers, stop)
        emit("stopping", processes=processes)


def _reload(folders: PlanFolders, fork_servers: ForkServers | None, supervisor: Supervisor) -> None:
    """Have fork servers for the plans as they are now, then let the processes read them."""
    from ...inference.server import emit

    for name in folders.paths:
        try:
            if fork_servers is not None:
                fork_servers.load(name, *folders.read(name))
        except (DeepReduceError, OSError, MemoryError) as error:
            emit("failed", reason="reload", name=name or None, text=str(error) or type(error).__name__)
    supervisor.reload()


def _keep_alive(supervisor: Supervisor, fork_servers: ForkServers | None, stop: threading.Event) -> None:
    """Start again what dies, until ``stop``; a fork server that goes on dying waits longer each time."""
    from ...inference.server import LONGEST_RESTART_S, POLL_S, RESTART_S, emit

    pause_s, again = RESTART_S, 0.0
    while not stop.wait(POLL_S):
        supervisor.keep_alive()
        if fork_servers is None or time.monotonic() < again:
            continue
        try:
            began = fork_servers.keep_alive()
        except (DeepReduceError, OSError) as error:
            emit("failed", reason="workers", text=str(error))
            began = True
        if began:
            again = time.monotonic() + pause_s
            pause_s = min(2 * pause_s, LONGEST_RESTART_S)
