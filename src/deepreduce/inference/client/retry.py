"""Retries while a server is busy: after the pause that it names, with jitter."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ..transport.errors import BusyError

T = TypeVar("T")


def retry_pause_s(error: BusyError) -> float:
    """Between half and one and a half times what the server said."""
    return error.retry_s * random.uniform(0.5, 1.5)


def retry_while_busy(work: Callable[[], T], wait_s: float, sleep: Callable[[float], object] = time.sleep) -> T:
    """Return the result of ``work``, tried again while the server is busy.

    Raises the last `BusyError` when another pause would end later than ``wait_s`` seconds from now.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return work()
        except BusyError as error:
            pause = retry_pause_s(error)
            if time.monotonic() + pause > deadline:
                raise
        sleep(pause)
