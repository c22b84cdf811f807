"""A folder of this process for targets that read files; gone when it ends."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path


def scratch() -> Path:
    """The folder, in memory where that can be had."""
    return _made(os.getpid())  # a fuzzer forks for each target


def forget(process: int) -> None:
    """Removes the folder of a process that has ended in whatever way."""
    shutil.rmtree(_place(process), ignore_errors=True)


def written(name: str, content: bytes) -> Path:
    """A file there, in place of any other of that name."""
    path = scratch() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _place(process: int) -> Path:
    memory = Path("/dev/shm")
    return (memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())) / f"deepreduce-fuzz-{process}"


@functools.cache
def _made(process: int) -> Path:
    forget(process)  # of another that had its number
    folder = _place(process)
    folder.mkdir(mode=0o700)
    atexit.register(forget, process)
    return folder
