"""Admission queue of preparations, and the time after which a refused client should try again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from ..transport.errors import BusyError
from ..transport.limit import Limit, LimitKind

QUEUE_S = 2.0  # a preparation waits here before its client is told to come again
LONGEST_RETRY_S = 60
USUAL = 0.8  # weight of the past in the mean duration


class AdmissionQueue:
    """``begun`` preparations may be under way, of which ``computing`` compute: the others wait for their clients.

    A client that is slow, or far away, holds a place, but no core. Clients that wait for a place are served in turn.
    """

    def __init__(self, begun: int, computing: int) -> None:
        self._free, self._begun = begun, begun
        self._waiting: deque[threading.Event] = deque()
        self._guard = threading.Lock()
        self._mean_s = 0.0
        self.computing = threading.Semaphore(computing)

    @contextmanager
    def place(self, wait_s: float) -> Iterator[None]:
        """Yield a place for the block. Raises `BusyError` when none becomes free in time."""
        self._take(wait_s)
        started = time.monotonic()
        try:
            yield
        finally:
            self._give_back(time.monotonic() - started)

    def _take(self, wait_s: float) -> None:
        with self._guard:
            if self._free and not self._waiting:
                self._free -= 1
                return
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(wait_s):
            return  # it was handed over
        with self._guard:
            if mine.is_set():
                return
            self._waiting.remove(mine)
            retry_s = ceil(self._mean_s * (len(self._waiting) + 1) / self._begun)
        raise BusyError(min(max(retry_s, 1), LONGEST_RETRY_S), limit=Limit(LimitKind.PREPARATIONS))

    def _give_back(self, seconds: float) -> None:
        with self._guard:
            self._mean_s = USUAL * self._mean_s + (1 - USUAL) * seconds if self._mean_s else seconds
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1
