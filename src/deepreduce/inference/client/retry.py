"""Retries while a server is busy, after the pause that it names, or away; with jitter."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ...errors import SessionError
from ..transport.errors import BusyError, PeerError, UnreachableError
from ..transport.frames import Reason

T = TypeVar("T")
AWAY_S = 1.0  # between two looks whether a server is there again


def retry_pause_s(error: SessionError) -> float:
    """Between half and one and a half times what the server said, or a second."""
    return (error.retry_s if isinstance(error, BusyError) else AWAY_S) * random.uniform(0.5, 1.5)


def retry_while_busy(work: Callable[[], T], wait_s: float, sleep: Callable[[float], object] = time.sleep) -> T:
    """Return the result of ``work``, tried again while the server is busy, stops, or cannot be reached.

    Raises the last error when another pause would end later than ``wait_s`` seconds from now.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return work()
        except (BusyError, UnreachableError, PeerError) as error:
            stopping = isinstance(error, PeerError) and error.reason in (Reason.STOPPING, Reason.BUSY)
            pause = retry_pause_s(error)
            if time.monotonic() + pause > deadline or not (stopping or isinstance(error, UnreachableError)):
                raise
        sleep(pause)
