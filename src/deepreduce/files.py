"""Atomic writes (a reader sees the old file or the new one, never half of it) and strict JSON."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

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


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON, whole or not at all."""
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())


def read_json(path: Path, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the JSON object in ``path`` with at least ``keys``. Raises `StoreError` naming the file and what
    is wrong.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StoreError(f"{path} is damaged: it is not JSON ({error})", _remedy(path)) from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise StoreError(f"{path} is damaged: it has no {missing[0]!r}", _remedy(path))
    return content  # type: ignore[no-any-return]  # JSON


def _remedy(path: Path) -> str:
    if path.name == "search.json":
        return "choose another `out` folder"
    if path.name == "frontier.json":
        return f"delete this file alone and run the search again: what is below {path.parent / 'jobs'} is kept"
    return f"delete the folder {path.parent} and run the search again: only this job is repeated"
