"""An audit log: lines of JSON that are only ever appended, each with the SHA-256 of the line before it.

    {"time": "2026-11-28T07:00:00.000Z", "event": "prediction", ..., "prev": "<64 hexadecimal digits>"}

A line is on the disk when `AuditLog.write` returns; a line that cannot be written is an error, and what it was about
does not happen. Three lines are about the log itself: `recovered` (bytes that are no whole line, after a crash or from
somebody else, are passed over: how many, and their hash), `truncated`, and `continued` (the file before was renamed).
audit_check.py verifies a chain.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...errors import StoreError
from ...files import parse_json
from ...locks import lock, unlock

FIRST_DIGEST = "0" * 64  # what the first line of a chain has for the hash of the line before
TAIL = 1 << 20  # bytes in which the last whole line must be found


class AuditLog:
    """The file (made as needed, mode 0600). Threads may share it, and processes of one machine, each with an
    `AuditLog`.

    FILE.head beside it is their lock, and holds the hash of the last line, from which a new file goes on. Raises
    `StoreError` at a file that is not an audit log, or one that cannot be used.
    """

    def __init__(self, path: Path | str, now: Callable[[], float] = time.time) -> None:
        self._path, self._now, self._guard = Path(path).absolute(), now, threading.Lock()
        self._lock = _opened(self._path.with_name(f"{self._path.name}.head"))
        try:
            with self._locked():
                self._chain = _Chain(self._path, now, self._kept_head())
                self._keep_head()
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def head(self) -> str:
        """The hash of the last line. Kept elsewhere, it shows later that no line before it was changed or cut off."""
        return self._chain.head

    def write(self, event: str, **fields: Any) -> None:
        """A line, on the disk when this returns; fields that are None are left out. Raises `StoreError`."""
        shown = {key: value for key, value in fields.items() if value is not None}
        with self._guard, self._locked():
            if self._chain.was_renamed():
                successor = _Chain(self._path, self._now, self._kept_head())
                self._chain.close()
                self._chain = successor
            try:
                self._chain.catch_up()
                self._chain.append(event, shown)
            finally:
                self._keep_head()

    def close(self) -> None:
        """No more lines from this process."""
        with self._guard:
            self._chain.close()
            if self._lock >= 0:
                os.close(self._lock)
            self._lock = -1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """No other process appends meanwhile."""
        try:
            lock(self._lock)
        except (OSError, ValueError) as error:
            raise _explained(error, self._path) from error
        try:
            yield
        finally:
            with suppress(OSError, ValueError):
                unlock(self._lock)

    def _kept_head(self) -> str:
        found = os.pread(self._lock, len(FIRST_DIGEST), 0).decode("ascii", "replace")
        return found if re.fullmatch("[0-9a-f]{64}", found) else FIRST_DIGEST

    def _keep_head(self) -> None:
        with suppress(OSError):  # it is asked only when the log itself is gone or empty
            os.pwrite(self._lock, self._chain.head.encode(), 0)


class _Chain:
    """One file, opened for appending: ``size`` is where the last whole line ends, ``head`` the hash of that line.

    ``former``: the hash of the last line of the file before, if this one is new. The caller holds the lock.
    """

    def __init__(self, path: Path, now: Callable[[], float], former: str) -> None:
        self._path, self._now = path, now
        self._file = _opened(path, os.O_APPEND)
        self.head, self.size = former, 0
        try:
            self.catch_up()
            if self.size == 0 and former != FIRST_DIGEST:
                self.append("continued", {"former": former})
        except BaseException:
            self.close()
            raise

    def append(self, event: str, fields: dict[str, Any]) -> None:
        """One line more, synced."""
        line = entry(self._now(), event, fields, self.head)
        try:
            written = os.write(self._file, line + b"\n")
            if written != len(line) + 1:
                with suppress(OSError):  # else it is passed over next time
                    os.ftruncate(self._file, self.size)
                raise OSError(28, "the disk is full")
            os.fsync(self._file)
        except OSError as error:
            raise _explained(error, self._path) from error
        self.size += len(line) + 1
        self.head = hashlib.sha256(line).hexdigest()

    def catch_up(self) -> None:
        """Read what other processes have appended; note in the log what is damaged or missing."""
        try:
            found = os.fstat(self._file).st_size
            if found == self.size:
                return
            if found < self.size:
                was, self.size = self.size, found
                return self.append("truncated", {"was_bytes": was, "is_bytes": found})
            head, self.size = self._last_line()
            self.head = head or self.head  # of the file before, if this one has no line yet
            self._end_line()
            if found <= self.size:
                return
            digest = hashlib.sha256()
            for offset in range(self.size, found, TAIL):
                digest.update(os.pread(self._file, min(TAIL, found - offset), offset))
            if os.pread(self._file, 1, found - 1) != b"\n":
                os.write(self._file, b"\n")
            passed, self.size = found - self.size, os.fstat(self._file).st_size
        except OSError as error:
            raise _explained(error, self._path) from error
        self.append("recovered", {"bytes": passed, "sha256": digest.hexdigest()})

    def was_renamed(self) -> bool:
        """Return whether the path leads elsewhere by now."""
        try:
            ours, there = os.fstat(self._file), self._path.stat()
        except FileNotFoundError:
            return True
        except OSError as error:
            raise _explained(error, self._path) from error
        return (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino)

    def close(self) -> None:
        """No more lines."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _last_line(self) -> tuple[str, int]:
        """(hash of the last whole line, where it ends); what comes after it is torn. Without any: ("", 0)."""
        size = os.fstat(self._file).st_size
        start = max(0, size - TAIL)
        pieces = os.pread(self._file, size - start, start).split(b"\n")
        end = size
        for number in range(len(pieces) - 1, -1, -1):  # the last piece has no end of line, and is none
            piece = pieces[number]
            if number < len(pieces) - 1 and (number > 0 or start == 0) and parsed(piece) is not None:
                return hashlib.sha256(piece).hexdigest(), end + 1
            end -= len(piece) + 1
        if size > 0 and (start > 0 or pieces[0][:1] not in (b"{", b"\0")):
            raise StoreError(f"{self._path} is not an audit log", "choose another file")
        return "", 0

    def _end_line(self) -> None:
        """A last line that is whole but for its end gets it."""
        rest = os.pread(self._file, TAIL, self.size)
        found = parsed(rest)
        if found is not None and found["prev"] == self.head and b"\n" not in rest:
            os.write(self._file, b"\n")
            self.head, self.size = hashlib.sha256(rest).hexdigest(), self.size + len(rest) + 1


def _opened(path: Path, flags: int = 0) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    except OSError as error:
        raise _explained(error, path) from error
    if os.fstat(file).st_mode & 0o022:
        os.close(file)
        raise StoreError(f"others may write {path} of the audit log", f"chmod 600 {path}")
    return file


def _explained(error: OSError | ValueError, path: Path) -> StoreError:
    hint = "make room, or check its permissions: what cannot be logged is not served"
    return StoreError(f"the audit log {path} cannot be written: {getattr(error, 'strerror', None) or error}", hint)


def entry(now: float, event: str, fields: dict[str, Any], prev: str) -> bytes:
    """Return a line, without its end: ASCII, whatever a certificate or a path contains."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    line = {"time": f"{stamp}.{int(now % 1 * 1000):03d}Z", "event": event, **fields, "prev": prev}
    return json.dumps(line, default=str).encode()


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return the entry of a line; None if it is not a line of an audit log."""
    try:
        found = parse_json(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or not all(type(found.get(key)) is str for key in ("time", "event", "prev")):
        return None
    return found
