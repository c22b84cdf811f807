"""The harness's side of `party`: orders, and what comes back of them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .host_faults import faketime_library

WAIT_S = 60.0  # for a line that must come


class Parties:
    """The process that forks parties, one at a time. ``log``: where their standard error goes. ``clock``: they live
    under libfaketime.
    """

    def __init__(self, log: Path, clock: bool = False) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if clock:
            library = faketime_library()
            assert library is not None
            environment |= {
                "LD_PRELOAD": library,
                "FAKETIME_NO_CACHE": "1",
                "DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("party.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,  # lines are cut here, so that `select` sees all there is
                env=environment,
            )
        self._read = b""

    def begin(self, **order: Any) -> Party:
        """A new party."""
        assert self._process.stdin is not None
        text = json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in order.items()})
        self._process.stdin.write(text.encode() + b"\n")
        return Party(self)

    def line(self, timeout_s: float) -> dict[str, Any] | None:
        """The next line; None if none comes."""
        pipe = self._process.stdout
        assert pipe is not None
        limit = time.monotonic() + timeout_s
        while b"\n" not in self._read:
            if not select.select([pipe], [], [], max(0.0, limit - time.monotonic()))[0]:
                return None
            piece = os.read(pipe.fileno(), 1 << 16)
            if not piece:
                raise EOFError("the process that forks parties has ended")
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()


class Party:
    """One of them. A context manager: when it is left the process is no more, and ``told`` holds all its lines."""

    def __init__(self, parties: Parties) -> None:
        self._parties = parties
        self.told: list[dict[str, Any]] = []
        self.pid: int = self.wait_for("pid")

    def wait_for(self, name: str, timeout_s: float = WAIT_S) -> Any:
        """The value of the first line with that name; None if the process ended before. Raises `TimeoutError`."""
        if (said := self.found(name)) is not None:  # a child may be faster than who tells of it
            return said
        limit = time.monotonic() + timeout_s
        while True:
            line = self._parties.line(max(0.0, limit - time.monotonic()))
            if line is None:
                raise TimeoutError(f"the party did not say {name!r}: {self.told}")
            self.told.append(line)
            if name in line:
                return line[name]
            if "status" in line:
                return None

    def found(self, name: str) -> Any:
        """The value of the first line with that name so far, or None."""
        return next((line[name] for line in self.told if name in line), None)

    def kill(self) -> None:
        """SIGKILL, if it still lives."""
        if self.found("status") is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def continues_after(self, seconds: float) -> threading.Thread:
        """A thread that waits until the process has stopped itself, and lets it go on so many seconds later."""

        def work() -> None:
            with contextlib.suppress(OSError):
                while (state := Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]) != "T":
                    if state == "Z":
                        return
                    time.sleep(0.005)
                time.sleep(seconds)
                os.kill(self.pid, signal.SIGCONT)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if self.found("status") is None:
            self.wait_for("status")
