"""Verifies the hash chain of an audit log: every line must hold the hash of the line before it (``audit_log``).

Anyone who may write a log may write a whole new chain, and a log whose end is cut off is a chain that holds: only a
hash that was kept elsewhere tells (``expected``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import DeepReduceError, SettingError
from .audit_log import FIRST_DIGEST, parsed

MAX_LINE = 1 << 20  # bytes of a line that is read as one; a longer piece is not taken for a line


class BrokenChainError(DeepReduceError):
    """A line of an audit log is not what was written, or something is missing."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class VerifiedAuditLog:
    """A chain that holds. ``head``: the hash of the last line, ``first``: of the line before the first of all.

    ``passed_over``: pieces that are no lines, as the log itself tells. ``torn``: bytes at the end that are no line yet.
    ``stopped``: the last line says that the server was stopped; else it runs, or crashed, or lines were cut off.
    """

    lines: int
    first: str
    head: str
    passed_over: int
    torn: int
    stopped: bool


def verify_audit_log(paths: Sequence[Path], expected: str | None = None) -> VerifiedAuditLog:
    """Reads the files of one chain, the oldest first; ``expected``: a hash that some line must have.

    Raises `BrokenChainError`, `SettingError` at a file that cannot be read.
    """
    reader = _Reader()
    torn = 0
    for path in paths:
        try:
            with path.open("rb") as file:
                torn = reader.read(path, file)
        except OSError as error:
            raise SettingError(f"{path} cannot be read: {error.strerror or error}", "check the path") from None
    if not reader.lines:
        raise BrokenChainError(f"there is no line in {', '.join(map(str, paths))}", "is it an audit log?")
    if expected is not None and expected not in reader.seen:
        raise BrokenChainError(
            f"no line has the hash {expected[:12]}...", "the end was cut off, or the log was written again"
        )
    stopped = reader.event == "stopped" and not torn
    return VerifiedAuditLog(reader.lines, reader.first, reader.head, reader.passed_over, torn, stopped)


class _Reader:
    """Goes from line to line; pieces that are no lines must be told by the next line."""

    def __init__(self) -> None:
        self.lines = self.passed_over = 0
        self.first = self.head = FIRST_DIGEST
        self.event = ""
        self.seen: set[str] = set()
        self._pieces, self._length, self._ended = hashlib.sha256(), 0, False  # without the end of the last of them

    def read(self, path: Path, file: BinaryIO) -> int:
        """Return the lines of a file; returns how many bytes at its end are none."""
        number, whole = 0, True
        while piece := file.readline(MAX_LINE):
            begins, whole = whole, piece.endswith(b"\n")
            number += begins
            found = parsed(piece[:-1]) if begins and whole else None
            if found is None:
                self._add_piece(piece)
            else:
                self._take(f"line {number} of {path}", piece[:-1], found)
        torn = self._length + self._ended
        self._pieces, self._length, self._ended = hashlib.sha256(), 0, False
        return torn

    def _take(self, place: str, line: bytes, found: dict[str, Any]) -> None:
        if not self.lines:
            self.first = self.head = found["prev"]
        if found["prev"] != self.head:
            raise BrokenChainError(
                f"{place} does not follow the line before it", "a line was changed, taken out or put in here"
            )
        if self._length or self._ended:
            if found["event"] != "recovered" or (found.get("bytes"), found.get("sha256")) not in self._skipped():
                raise BrokenChainError(
                    f"before {place} is something that is not a line", "a line was damaged or changed"
                )
            self.passed_over += 1
            self._pieces, self._length, self._ended = hashlib.sha256(), 0, False
        self.lines += 1
        self.head, self.event = hashlib.sha256(line).hexdigest(), found["event"]
        self.seen.add(self.head)

    def _add_piece(self, piece: bytes) -> None:
        if self._ended:
            self._pieces.update(b"\n")
            self._length += 1
        self._ended = piece.endswith(b"\n")
        content = piece[:-1] if self._ended else piece
        self._pieces.update(content)
        self._length += len(content)

    def _skipped(self) -> list[tuple[int, str]]:
        """Return the damaged pieces as the log would note them: the end of the last one may have been added when it was
        told.
        """
        ended = self._pieces.copy()
        ended.update(b"\n")
        return [(self._length, self._pieces.hexdigest()), (self._length + 1, ended.hexdigest())]
