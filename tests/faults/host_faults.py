"""What surrounds a process: a disk that fills, files that may not grow, clocks that jump."""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

DISK_BYTES = 48 << 20
LEFT = (0, 4 << 10, 16 << 10, 64 << 10, 192 << 10)  # bytes still free on the disk, or that a file may have
JUMPS_S = {"clock forwards": 1.0, "clock backwards": -1.0}  # signs; how far is drawn
DISTANCES_S = (2.0, 3600.0, 10 * 365 * 86400.0)
MODULES = (
    "transport.channel",
    "transport.streams",
    "server.server",
    "server.session",
    "server.limits",
    "client.client",
    "store.store",
    "store.server",
)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mounts a file system of `DISK_BYTES` in memory at the folder; False where that is not permitted."""
    folder.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


class FullDisk:
    """A file that takes all but a few bytes of the file system it is on."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "filler"

    def fill(self, left: int) -> None:
        found = os.statvfs(self._path.parent)
        size = found.f_bavail * found.f_frsize - left
        with self._path.open("wb") as file:
            if size > 0:
                os.posix_fallocate(file.fileno(), 0, size)

    def empty(self) -> None:
        self._path.unlink(missing_ok=True)


def limit_files(size: int | None) -> None:
    """No file of this process may grow beyond ``size`` bytes (RLIMIT_FSIZE); None: any may."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


class Clocks:
    """The clocks of both halves in this process: wall clock and monotonic clock, each with an offset."""

    def __init__(self) -> None:
        self.wall = self.monotonic = 0.0
        shim = SimpleNamespace(
            **{name: getattr(time, name) for name in dir(time) if not name.startswith("_")}
            | {"time": lambda: time.time() + self.wall, "monotonic": lambda: time.monotonic() + self.monotonic}
        )
        self._undo: list[Callable[[], None]] = []
        for name in MODULES:
            module = importlib.import_module(f"deepreduce.inference.{name}")
            assert hasattr(module, "time"), name  # else its clock would not jump
            self._undo.append(lambda module=module: setattr(module, "time", time))  # type: ignore[misc]
            module.time = shim

    def jump(self, name: str, seconds: float) -> None:
        """The wall clock may go both ways; the monotonic clock only forwards, as after a machine has slept."""
        if name == "sleep":
            self.monotonic += seconds
        self.wall += seconds

    def reset(self) -> None:
        self.wall = self.monotonic = 0.0

    def close(self) -> None:
        for undo in self._undo:
            undo()


def faketime_library() -> str | None:
    """libfaketime's, if it is installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else None
