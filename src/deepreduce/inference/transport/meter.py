"""Counts what a session really sent, received and waited for: op by op, offline and online apart."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class OpPhase:
    """One op in one phase, both directions as this party saw them."""

    seconds: float = 0.0
    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass(slots=True)
class Phase:
    """One phase of a run. ``rounds``: how often this party, having sent, waited for its peer."""

    seconds: float = 0.0
    rounds: int = 0
    ops: dict[str, OpPhase] = field(default_factory=lambda: defaultdict(OpPhase))

    @property
    def sent_bytes(self) -> int:
        """Sum over all ops."""
        return sum(op.sent_bytes for op in self.ops.values())

    @property
    def received_bytes(self) -> int:
        """Sum over all ops."""
        return sum(op.received_bytes for op in self.ops.values())


@dataclass(slots=True)
class Run:
    """One inference, or one batch of images, from preparation to answer."""

    offline: Phase = field(default_factory=Phase)
    online: Phase = field(default_factory=Phase)


class Meter:
    """Books frames and seconds into the phase that is open; a second thread may send."""

    def __init__(self) -> None:
        self._phase: Phase | None = None
        self._turn = False  # something was sent since the last frame that arrived
        self._lock = threading.Lock()

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[Phase]:
        """Yield everything until the end of the block belongs to ``phase``, within another phase too."""
        outer = self._phase, self._turn
        self._phase, self._turn = phase, False
        started = time.perf_counter()
        try:
            yield phase
        finally:
            phase.seconds += time.perf_counter() - started
            self._phase, self._turn = outer

    @contextmanager
    def op(self, name: str) -> Iterator[None]:
        """Yield the seconds of the block belong to the op."""
        started = time.perf_counter()
        try:
            yield
        finally:
            if self._phase is not None:
                self._phase.ops[name].seconds += time.perf_counter() - started

    def spent(self, op: str, seconds: float) -> None:
        """Another process has worked for the op."""
        if self._phase is not None:
            self._phase.ops[op].seconds += seconds

    def turn(self) -> None:
        """Begin a round with what a second thread is about to send."""
        self._turn = True

    def sent(self, op: str, count: int, background: bool) -> None:
        """A frame went out."""
        with self._lock:
            if self._phase is not None:
                self._phase.ops[op].sent_bytes += count
                self._turn = self._turn or not background

    def received(self, op: str, count: int) -> None:
        """A frame came in."""
        with self._lock:
            if self._phase is not None:
                self._phase.ops[op].received_bytes += count
                self._phase.rounds += self._turn
                self._turn = False
