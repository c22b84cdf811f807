"""The list of burnt batches: beside the database, so that a restored backup is noticed.

The database remembers the list's inode, its time of change and its length. A list that was copied back has another
inode or time of change, both of which no program can set, and a database that was copied back alone knows less than
the list says. Only while batches are being burnt may the list differ from what is known: it may be longer, by the very
batches that the database names as being burnt. The device's number is not compared: it changes when a machine
restarts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ENTRY = 16  # a batch's id


@dataclass(frozen=True, slots=True)
class Known:
    """The list as the database remembers it."""

    inode: int
    changed_ns: int
    length: int


class BurntList:
    """The file. Callers hold the database's write lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self) -> Known:
        """Return an empty list, in place of any other."""
        self._path.unlink(missing_ok=True)
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.fsync(file)
            return self._known(file, 0)
        finally:
            os.close(file)

    def is_known(self, known: Known, burning: list[bytes]) -> bool:
        """Return whether this is the list that is known, but for entries of batches being burnt. Raises `OSError`."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            found = os.fstat(file)
            if found.st_ino != known.inode or found.st_size < known.length:
                return False
            if not burning:
                return found.st_ctime_ns == known.changed_ns and found.st_size == known.length
            # After a crash the entries are there, or not, or in part.
            added = os.pread(file, min(found.st_size - known.length, ENTRY * len(burning) + 1), known.length)
        finally:
            os.close(file)
        return b"".join(burning).startswith(added)

    def unchanged(self, known: Known) -> Known | None:
        """Return the list after an attempt to append to it that left nothing, which may have moved its time of change;
        None if it is not as long as it was, or another one.
        """
        try:
            found = self._path.stat()
        except OSError:
            return None
        same = (found.st_ino, found.st_size) == (known.inode, known.length)
        return Known(found.st_ino, found.st_ctime_ns, known.length) if same else None

    def append(self, known: Known, batch_ids: list[bytes]) -> Known:
        """Lists the batches and waits until the disk has them. Raises `OSError`; then nothing was begun."""
        file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            content = b"".join(batch_ids)
            # In place, over what a failed attempt may have left.
            if os.pwrite(file, content, known.length) != len(content):
                raise OSError(28, "No space left on device")
            os.fsync(file)
            return self._known(file, known.length + len(content))
        finally:
            os.close(file)

    def recorded(self) -> Known:
        """Return the list as it is now, all of it recorded; a new one if there is none. Raises `OSError`."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return self.create()
        return Known(found.st_ino, found.st_ctime_ns, found.st_size // ENTRY * ENTRY)

    @staticmethod
    def _known(file: int, length: int) -> Known:
        found = os.fstat(file)
        return Known(found.st_ino, found.st_ctime_ns, length)
