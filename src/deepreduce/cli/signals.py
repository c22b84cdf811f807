"""Signals: what ends a command, and what a running server reacts to."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue

CLEAN_UP_S = 10.0  # for a command to stop its children and close its files
_received: list[int] = []
_hangups: SimpleQueue[int] = SimpleQueue()


def end_politely() -> None:
    """Let the first SIGTERM or SIGINT end this command by `KeyboardInterrupt`, so that it cleans up; ignore later ones.

    A clean-up that hangs is ended after `CLEAN_UP_S`. A signal that the parent had ignored (nohup) stays ignored.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def ending_signal() -> int | None:
    """Return the signal that ends this command, if one was received."""
    return _received[0] if _received else None


def _interrupt(number: int, frame: object) -> None:
    if _received:
        return
    _received.append(number)
    last_resort = threading.Timer(CLEAN_UP_S, os._exit, (128 + number,))
    last_resort.daemon = True
    last_resort.start()
    raise KeyboardInterrupt


def until_signalled() -> threading.Event:
    """Set by the first SIGTERM or SIGINT; the second ends the process. From now on SIGHUP is kept for `at_hangup`."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    signal.signal(signal.SIGHUP, lambda number, frame: _hangups.put(number))  # read when `at_hangup` is called
    return stop


def at_hangup(act: Callable[[], None]) -> None:
    """Call it at every SIGHUP since `until_signalled`, in a thread of its own: a handler may not wait for locks."""

    def run() -> None:
        while _hangups.get():
            try:
                act()
            except Exception as error:  # the next one must find somebody who listens
                logging.getLogger("deepreduce.server").error("SIGHUP: %s", type(error).__name__, exc_info=error)

    threading.Thread(target=run, name="deepreduce-hangup", daemon=True).start()
