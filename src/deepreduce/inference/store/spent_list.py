"""The list of burnt batches: beside the database, written before it, so that a restored backup is noticed.

The database remembers the list's inode, its time of change and its length. A list that was copied back has another
inode or time of change, both of which no program can set; a database that was copied back alone is shorter than the
list, which names what was burnt since. The device's number is not compared: it changes when a machine starts anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ENTRY = 16  # a batch's id


@dataclass(frozen=True, slots=True)
class Known:
    """The list as the database remembers it: what was burnt with an entry beyond ``length`` was not recorded."""

    inode: int
    changed_ns: int
    length: int


class BurntList:
    """The file. Whoever calls holds the database's write lock."""

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

    def unrecorded(self, known: Known) -> list[bytes] | None:
        """Batches listed beyond what is known; None if this is not the list that is known. Raises `OSError`."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            found = os.fstat(file)
            # After a crash between list and database the list is longer, and so was changed since.
            same = found.st_ctime_ns == known.changed_ns or found.st_size > known.length
            if found.st_ino != known.inode or found.st_size < known.length or not same:
                return None
            content = os.pread(file, found.st_size - known.length, known.length)
        finally:
            os.close(file)
        whole = len(content) // ENTRY * ENTRY  # of an entry cut by a full disk nothing was begun
        return [content[at : at + ENTRY] for at in range(0, whole, ENTRY)]

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
