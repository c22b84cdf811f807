"""A search's folder: one search per folder, one process per search."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..data import snapshot
from ..data.dataset import Dataset
from ..errors import StoreError
from ..files import read_json, write_json
from ..locks import hold
from .spec import FORMAT
from .store import JobStore


class Workspace:
    """``DIR/search.json`` (what is searched), ``jobs/``, ``data.safetensors`` while it runs, ``frontier.json``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = JobStore(root / "jobs")
        self.snapshot = root / "data.safetensors"

    @contextlib.contextmanager
    def claim(self, identity: dict[str, Any], defaults: Mapping[str, Any] | None = None) -> Iterator[None]:
        """Take the folder for the search that ``identity`` describes, creating it if need be.

        ``defaults`` are the values (by dotted key) of what an earlier version did not record yet.

        Raises `StoreError` if it holds something else, another search, or one that is running.
        """
        path = self.root / "search.json"
        try:
            # A search that was killed at once leaves nothing but its lock.
            strangers = [p for p in self.root.iterdir() if p.name != "lock"] if self.root.exists() else []
            if strangers and not path.exists():
                raise StoreError(f"{self.root} is not empty and holds no search", "choose another `out` folder")
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.root} cannot be used: {error.strerror}", "choose another `out` folder") from error
        with hold(self.root / "lock", f"{self.root}", patience_s=2.0):
            if path.exists():
                found = read_json(path, ("format", "identity"))
                if not isinstance(found["identity"], dict):
                    raise StoreError(f"{path} is damaged: its identity is not an object", "choose another `out` folder")
                self._compare(found, identity, defaults or {})
            else:
                write_json(path, {"format": FORMAT, "identity": identity})
            yield

    def drop_data(self) -> None:
        """The search is over: its copy of the data can go."""
        self.snapshot.unlink(missing_ok=True)

    def _compare(self, found: dict[str, Any], identity: dict[str, Any], defaults: Mapping[str, Any]) -> None:
        if found["format"] != FORMAT:
            raise StoreError(
                f"{self.root} holds a search of format {found['format']}, this version writes {FORMAT}",
                "choose another `out` folder",
            )
        old, new = {**defaults, **_flat(found["identity"])}, {**defaults, **_flat(identity)}
        differing = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
        if differing:
            key = differing[0]
            raise StoreError(
                f"{self.root} holds another search: its {key} is {old.get(key)}, not {new.get(key)}",
                "choose another `out` folder, or give the same settings to go on with it",
            )


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def save_data(data: Dataset, path: Path) -> None:
    """Put the data where the workers read it, unless it is there from a search that was stopped."""
    if path.is_file():
        with contextlib.suppress(Exception):  # a damaged file is simply written again
            if snapshot.restore(path).digest == data.digest:
                return
    snapshot.save(data, path)
