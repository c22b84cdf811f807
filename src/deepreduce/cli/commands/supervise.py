"""``deepreduce serve --processes N``: the process that starts the others, and serves nobody."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import typer

from ...errors import DeepReduceError, SettingError
from ..signals import at_hangup
from ..units import shown_address


def supervise(
    plan: Any,
    weights: dict[str, Any],
    address: tuple[str, int],
    *,
    processes: int,
    workers: int,
    threads: int,
    store: Path | None,
    grace: float,
    stop: threading.Event,
) -> None:
    """Until ``stop``; SIGHUP is passed on. The processes are this command with a socket to accept from."""
    from ...inference.server.events import emit
    from ...inference.server.server import listening
    from ...inference.server.supervisor import LONGEST_RESTART_S, POLL_S, RESTART_S, Supervisor
    from ...inference.server.workers.fork_server import Nursery
    from ...inference.store.server import hold

    host, port = address
    if processes < 1:
        raise SettingError(f"--processes is {processes}", "give a number from 1 on")
    with ExitStack() as stack:
        listener = stack.enter_context(listening(host, port))
        lock = None
        if store is not None:
            lock = stack.enter_context(hold(store))
        nursery = None
        if workers:
            nursery = Nursery(plan, weights, threads)
            stack.callback(nursery.close)
        del weights
        orders = None if nursery is None else nursery.orders.fileno()
        supervisor = Supervisor(sys.argv[1:], processes, listener.fileno(), orders, lock)
        stack.callback(supervisor.end, grace)
        line = supervisor.ready()
        shown = shown_address(host, listener.getsockname()[1])
        emit("serving", address=shown, processes=processes)
        typer.echo(line.rstrip())
        sys.stdout.flush()
        at_hangup(supervisor.reload)
        pause_s, again = RESTART_S, 0.0
        while not stop.wait(POLL_S):
            supervisor.keep_alive()
            if nursery is None or time.monotonic() < again:
                continue
            try:
                began = nursery.keep_alive()
            except (DeepReduceError, OSError) as error:
                emit("failed", reason="workers", text=str(error))
                began = True
            if began:  # not at once again, should it go on dying
                again = time.monotonic() + pause_s
                pause_s = min(2 * pause_s, LONGEST_RESTART_S)
        emit("stopping", processes=processes)
