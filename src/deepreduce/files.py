"""Atomic writes (a reader sees the old file or the new one, never half of it) and strict JSON."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable
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


def parse_json(
    content: bytes | str,
    *,
    parse_float: Callable[[str], Any] | None = None,
    parse_constant: Callable[[str], Any] | None = None,
) -> Any:
    """Return the value that ``content`` holds in JSON, read strictly: no NaN and no Infinity unless
    ``parse_constant`` takes them, no key twice in an object, UTF-8 only.

    ``parse_float``: of numbers with a fraction or an exponent, as in `json.loads`. Raises `ValueError` for anything
    else, however deeply it is nested.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        return json.loads(
            text, parse_float=parse_float, parse_constant=parse_constant or _refused, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def read_json(
    path: Path, keys: tuple[str, ...] = (), *, parse_constant: Callable[[str], Any] | None = None
) -> dict[str, Any]:
    """Return the JSON object in ``path`` with at least ``keys``; ``parse_constant`` as in `parse_json`. Raises
    `StoreError` naming the file and what is wrong.
    """
    try:
        content = parse_json(path.read_bytes(), parse_constant=parse_constant)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
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
