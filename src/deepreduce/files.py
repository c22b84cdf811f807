"""Writing a file so that a reader sees the old one or the new one, never half of it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from .errors import StoreError


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> Path:
    """Write ``content`` beside ``path``, sync it, then rename it into place; folders are made as needed.

    ``mode``: of the new file, less the process's umask; 0o600 for what only its owner may read. Raises `StoreError`
    when that fails; then the old file is still there and nothing else is left.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")  # machines may share the folder
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise StoreError(f"{path} cannot be written: {reason}", "check its permissions and the disk") from error
