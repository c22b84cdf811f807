"""Files of a store: written until they are on the disk, removed unless another process writes them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ...locks import try_lock


def write_all(file: int, piece: memoryview) -> None:
    """All bytes of the piece. Raises `OSError`."""
    while len(piece):
        piece = piece[os.write(file, piece) :]


def sync_folder(folder: Path) -> None:
    """Waits until the names in it are on the disk. Raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_unlocked(path: Path) -> None:
    """Removes the file unless another process is writing it."""
    with suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if try_lock(file):
                path.unlink()
        finally:
            os.close(file)
