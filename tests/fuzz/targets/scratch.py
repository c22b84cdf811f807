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


@functools.cache
def _made(process: int) -> Path:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="deepreduce-fuzz-", dir=memory if os.access(memory, os.W_OK) else None))

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def written(name: str, content: bytes) -> Path:
    """A file there, in place of any other of that name."""
    path = scratch() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
