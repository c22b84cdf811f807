"""Signals that a running server reacts to."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue


def until_signalled() -> threading.Event:
    """Set by the first SIGTERM or SIGINT; the second ends the process."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to read again
    return stop


def at_hangup(act: Callable[[], None]) -> None:
    """Calls it at every SIGHUP, in a thread of its own: a signal's handler may not wait for locks."""
    come: SimpleQueue[int] = SimpleQueue()

    def run() -> None:
        while come.get():
            try:
                act()
            except Exception as error:  # the next one must find somebody who listens
                logging.getLogger("deepreduce.server").error("SIGHUP: %s", type(error).__name__, exc_info=error)

    threading.Thread(target=run, name="deepreduce-hangup", daemon=True).start()
    signal.signal(signal.SIGHUP, lambda number, frame: come.put(number))
