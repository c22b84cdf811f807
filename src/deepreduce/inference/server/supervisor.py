"""Several server processes behind one port: a supervisor starts them, starts again what dies, and ends them.

All accept from one listening socket that they inherit, those with fewer sessions first. What is prepared in a process's
memory ends with its connection, so a connection is all that is pinned; what is in the store belongs to all of them,
since a batch is claimed in one transaction, and the supervisor holds the store's lock for them. The fork server of
workers is one for all, too: weights are transformed once.

A process is the supervisor's own command, which finds in its environment what it inherits (`Inherited`). It tells on
its standard output that it is ready, and ends when its standard input does: with the supervisor, whatever ends that.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Self

from ...errors import SessionError
from ...files import parse_json
from .events import emit

VARIABLE = "DEEPREDUCE_INHERITED"
POLL_S = 0.2  # between looks at the processes
RESTART_S, LONGEST_RESTART_S = 1.0, 30.0  # before a process that died is started again; doubled each time
SETTLED_S = 60.0  # after so long a process that dies is as good as one that never did
START_S = 600.0  # for all processes to be ready: weights are transformed first
END_S = 5.0  # for a process to end after its grace


@dataclass(frozen=True, slots=True)
class Inherited:
    """Inheritance of a server process: its number of how many, and descriptors (``orders``: for workers; ``lock``: of
    the store).
    """

    number: int
    processes: int
    listener: int
    orders: int | None
    lock: int | None

    @classmethod
    def found(cls) -> Self | None:
        """This process's, if it has a supervisor."""
        text = os.environ.pop(VARIABLE, None)
        return None if text is None else cls(**parse_json(text))

    def follow(self, stop: threading.Event) -> None:
        """Set ``stop`` when the supervisor asks for it or has ended."""

        def wait() -> None:
            while os.read(0, 1):
                pass
            stop.set()

        threading.Thread(target=wait, daemon=True).start()


class _Process:
    """A supervised server process, restarted with exponential back-off."""

    def __init__(self, command: Sequence[str], inherited: Inherited) -> None:
        self._command, self._inherited = command, inherited
        self._pause_s, self._again = RESTART_S, 0.0
        self.process = self._start()

    def says_something(self, patience_s: float) -> bool:
        """Return whether `ready` would return at once: the process has printed, or has ended."""
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], patience_s)[0])

    def ready(self) -> str:
        """Return what it printed when it began to serve. Raises `SessionError` if it has ended instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SessionError("a server process has ended while it was started", "its message is above")
        return line

    def keep_alive(self) -> None:
        """Starts it again, some time after it died."""
        if self.process.poll() is None:
            return
        now = time.monotonic()
        if not self._again:
            lived_s = now - self._started
            self._pause_s = RESTART_S if lived_s > SETTLED_S else self._pause_s
            self._again = now + self._pause_s
            number, code = self._inherited.number, self.process.returncode
            emit("failed", reason="process", process=number, code=code, restart_s=self._pause_s)
        elif now >= self._again:
            self._pause_s = min(2 * self._pause_s, LONGEST_RESTART_S)
            self._close_pipes()
            try:
                self.process = self._start()
            except OSError as error:  # out of memory or processes: later, perhaps
                emit("failed", reason="process", process=self._inherited.number, text=str(error))
                self._again = now + self._pause_s

    def reload(self) -> None:
        """Lets it read again what may have changed."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Ask the process to stop, without a signal: the whole group may have had one already, and a second ends a
        server at once.
        """
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self, deadline: float) -> None:
        """Waits for it, or kills it."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._close_pipes()

    def _start(self) -> subprocess.Popen[str]:
        self._started, self._again = time.monotonic(), 0.0
        inherited = self._inherited
        fds = [fd for fd in (inherited.listener, inherited.orders, inherited.lock) if fd is not None]
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=fds,
            start_new_session=True,  # an interrupt from the keyboard is for the supervisor, which then ends them
            env={**os.environ, VARIABLE: json.dumps(asdict(inherited))},
        )

    def _close_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Supervisor:
    """Server processes behind one listening socket: `start` them, wait until they are `ready`, `end` them.

    ``arguments``: of `deepreduce`, for a process like this one. The descriptors are the caller's to close. `end` may be
    called at any time, so register it before `start`.
    """

    def __init__(
        self, arguments: Sequence[str], processes: int, listener: int, orders: int | None, lock: int | None
    ) -> None:
        self._command = [sys.executable, "-m", "deepreduce", *arguments]
        self._inherited = [Inherited(number, processes, listener, orders, lock) for number in range(processes)]
        self._processes: list[_Process] = []

    def start(self) -> None:
        """Start all processes. Raises `OSError` where one cannot be started; those that were are ended by `end`."""
        for inherited in self._inherited:
            self._processes.append(_Process(self._command, inherited))

    def ready(self, stop: threading.Event, limit_s: float = START_S) -> str | None:
        """Wait until all processes serve; return the line that the first printed, or None if ``stop`` came before.

        Raises `SessionError` when a process ends, or is not ready within ``limit_s`` seconds.
        """
        deadline = time.monotonic() + limit_s
        lines = []
        for process in self._processes:
            while not process.says_something(POLL_S):
                if stop.is_set():
                    return None
                if time.monotonic() > deadline:
                    raise SessionError(
                        f"a server process was not ready within {limit_s:.0f} s", "is the machine overloaded?"
                    )
            lines.append(process.ready())
        return lines[0]

    def keep_alive(self) -> None:
        """Starts again what has died."""
        for process in self._processes:
            process.keep_alive()

    def reload(self) -> None:
        """Passes SIGHUP on."""
        for process in self._processes:
            process.reload()

    def end(self, grace_s: float) -> None:
        """Lets what is being computed finish for up to ``grace_s``."""
        for process in self._processes:
            process.stop()
        deadline = time.monotonic() + grace_s + END_S
        for process in self._processes:
            process.end(deadline)
