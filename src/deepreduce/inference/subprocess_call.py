"""A function in a fresh Python process, with a pipe to it.

Not `multiprocessing.Process`: that imports the caller's main module again, whose memory would be measured with a
party's, and asks every script for a guard.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

END_S = 10.0  # for a process to end by itself
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_PROGRAM = """import sys
from multiprocessing.connection import Connection
pipe = Connection(int(sys.argv[1]))
sys.path[:] = pipe.recv()
main, arguments = pipe.recv()
main(pipe, *arguments)
"""


class Child:
    """Runs ``main(pipe, *arguments)``, all of which must be importable or picklable; leaving the context ends it.

    A child whose parent dies finds the end of the file in its pipe. ``fds``: descriptors that it inherits; ``threads``:
    of the numerical libraries that it may load.
    """

    def __init__(
        self, main: Callable[..., None], *arguments: Any, fds: Sequence[int] = (), threads: str | None = None
    ) -> None:
        self.pipe, theirs = Pipe()
        with theirs:
            end = theirs.fileno()
            command = [sys.executable, "-c", _PROGRAM, str(end)]
            # A session of its own: an interrupt from the keyboard is for the parent, which then ends its children.
            environment = os.environ if threads is None else os.environ | dict.fromkeys(THREADS, threads)
            self._process = subprocess.Popen(command, pass_fds=[end, *fds], start_new_session=True, env=environment)
        self.pipe.send(sys.path)
        self.pipe.send((main, arguments))

    def alive(self) -> bool:
        """Return whether it has not ended."""
        return self._process.poll() is None

    def exit_code(self) -> int | None:
        """Return the exit code of a process that has closed its pipe; None if it does not end."""
        try:
            return self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self.pipe.close()


def wait_for_parent(pipe: Connection) -> None:
    """Wait until the parent has closed its end or has ended."""
    try:
        while True:
            pipe.recv()
    except (EOFError, OSError):
        return
