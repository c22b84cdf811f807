"""Summary of a store's content, without changing it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...errors import StoreError, one_line
from .store import DATABASE


def store_summary(folder: Path) -> dict[str, int]:
    """Return {"ready": batches, "bytes": of their files}; zeros if the store does not exist. Raises `StoreError`."""
    path = folder / DATABASE
    if not path.exists():
        return {"ready": 0, "bytes": 0}
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        try:
            query = "SELECT count(*), total(bytes) FROM batches WHERE state = 'ready'"
            ready, size = database.execute(query).fetchone()
        finally:
            database.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {one_line(error)}", "is it damaged?") from error
    return {"ready": int(ready), "bytes": int(size)}
