"""Locks on files that the kernel releases when their process ends, however it ends (``flock``)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import StoreError


def lock(file: int) -> None:
    """Lock an open file for this process alone, waiting for others. Raises `OSError` where its file system cannot."""
    fcntl.flock(file, fcntl.LOCK_EX)


def try_lock(file: int) -> bool:
    """Lock an open file unless another process holds it; return whether that succeeded. Raises `OSError` as `lock`."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(file: int) -> None:
    """Unlock an open file; closing every copy of its descriptor does, too."""
    fcntl.flock(file, fcntl.LOCK_UN)


@contextlib.contextmanager
def hold(path: Path, what: str, patience_s: float) -> Iterator[None]:
    """Yield an exclusive lock on ``path`` that the kernel releases when this process ends, even by SIGKILL.

    Raises `StoreError` naming ``what`` when another process still holds it after ``patience_s`` seconds.
    """
    try:
        file = path.open("a+")
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        deadline = time.monotonic() + patience_s
        try:
            while not try_lock(file.fileno()):
                if time.monotonic() > deadline:
                    file.seek(0)
                    owner = file.read().strip() or "unknown"
                    raise StoreError(f"{what} is in use by process {owner}", "wait for it or stop it")
                time.sleep(0.2)
        except OSError as error:
            raise StoreError(f"{path} cannot be locked: {error.strerror}", "use a local folder") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
