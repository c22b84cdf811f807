"""Bearer tokens: a file with a line for each identity, its name and the SHA-256 of its token.

    alice 3f0c...  (64 hexadecimal digits)

A token is 256 random bits, so that its hash tells nothing about it: reading the file lets no one in.
Lines that begin with # are comments.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import threading
from pathlib import Path

from ...errors import DeepReduceError, SettingError
from ...files import write_whole
from ..identity import is_usable_name

log = logging.getLogger("deepreduce.server")
TOKEN_BYTES = 32
MAX_FILE = 1 << 24  # bytes

Entries = tuple[tuple[str, bytes], ...]  # name, SHA-256 of its token


def hashed(token: str) -> bytes:
    """Return the hash of a token, as stored. Any text has one, even invalid Unicode."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def matching(entries: Entries, token: str) -> str | None:
    """Whose token it is. All entries are compared, each in constant time, whichever matches."""
    presented = hashed(token)
    found = [name for name, digest in entries if hmac.compare_digest(digest, presented)]
    return found[0] if found else None


def read_tokens(path: Path) -> Entries:
    """Return the file's entries. Raises `SettingError` at one that others may read, or that cannot be understood."""
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(MAX_FILE + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingError(f"the file of tokens {path} cannot be read: {reason}", "check the path") from None
    if mode & 0o077:
        raise SettingError(f"others may read or write the file of tokens {path}", f"chmod 600 {path}")
    if len(content) > MAX_FILE:
        raise SettingError(f"the file of tokens {path} is larger than {MAX_FILE} bytes", "is it the right file?")
    entries: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, digest = line.strip().rpartition(" ")
        name = name.strip()
        if not _nameable(name) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise SettingError(
                f"line {number} of {path} is not a name with the SHA-256 of a token", "add tokens with deepreduce token"
            )
        if name in entries:
            raise SettingError(f"line {number} of {path} names {name} again", "an identity has one token")
        entries[name] = bytes.fromhex(digest)
    return tuple(entries.items())


def add_token(path: Path, name: str, replace: bool = False) -> str:
    """Return a new token for ``name``, of which the file (made as needed, mode 0600) gets the hash. Raises
    `SettingError`.
    """
    if not _nameable(name):
        raise SettingError(
            f"{name!r:.40} cannot name an identity", "use letters, digits and . _ @ + -, not 'anonymous'"
        )
    entries = dict(read_tokens(path)) if path.exists() else {}
    if name in entries and not replace:
        raise SettingError(
            f"{path} has a token for {name} already", "`replace` makes a new one, `remove` takes it away"
        )
    token = secrets.token_urlsafe(TOKEN_BYTES)
    _write(path, [*_others(path, name), f"{name} {hashed(token).hex()}"])
    return token


def remove_token(path: Path, name: str) -> None:
    """Raises `SettingError` when there is none of that name."""
    if name not in dict(read_tokens(path)):
        raise SettingError(f"{path} has no token for {name!r:.40}", "add one with deepreduce token")
    _write(path, _others(path, name))


class TokenFile:
    """A file of tokens that is read again when it has changed. A file that becomes unusable changes nothing."""

    def __init__(self, path: Path | str) -> None:
        self._path, self._guard = Path(path), threading.Lock()
        self._seen = self._state()
        self.entries = read_tokens(self._path)

    def owner(self, token: str) -> str | None:
        """Return the owner of a token, or None."""
        self.refresh()
        return matching(self.entries, token)

    def refresh(self) -> bool:
        """Reads the file again if it is not the one that was read last; whether its entries are others now."""
        with self._guard:
            state = self._state()
            if state == self._seen:
                return False
            self._seen = state
            try:
                entries = read_tokens(self._path)
            except DeepReduceError as error:
                log.error("the tokens stay as they were: %s", error)
                return False
            changed, self.entries = entries != self.entries, entries
            return changed

    def _state(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _nameable(name: str) -> bool:
    """Return the identity of a line of the file: all before its first white space."""
    return is_usable_name(name) and not any(c.isspace() for c in name) and not name.startswith("#")


def _others(path: Path, name: str) -> list[str]:
    """Return the file's lines but that of ``name``."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [line for line in lines if line.strip().rpartition(" ")[0].strip() != name]


def _write(path: Path, lines: list[str]) -> None:
    write_whole(path, "".join(f"{line}\n" for line in lines).encode(), 0o600)
