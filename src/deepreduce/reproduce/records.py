"""What finished trainings came to, one JSON object a line: small enough to be kept with the source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import StoreError


@dataclass(frozen=True)
class Record:
    """One training's outcome. ``digest`` is its job's; accuracies are percent; ``teacher`` and ``start`` are digests.

    ``test_accuracy`` is that of the epoch that did best on the validation split; ``best_test`` is the best of any
    epoch, which exists only to compare with papers that chose so.
    """

    digest: str
    scale: str
    network: str
    point: str
    data: str
    seed: int
    settings: dict[str, Any]
    teacher: str | None
    start: str | None
    relus: int
    params: int
    macs: int
    validation_accuracy: float
    test_accuracy: float
    best_test: float | None
    best_epoch: int
    epochs: int
    seconds: float
    hardware: str
    device: str
    threads: int
    torch: str
    deepreduce: str


class Records:
    """The records in the file ``path``, by digest. Later lines win."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = {record.digest: record for record in _read(path)} if path.is_file() else {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def __getitem__(self, digest: str) -> Record:
        return self._known[digest]

    def get(self, digest: str) -> Record | None:
        """The record of that job, if it is known."""
        return self._known.get(digest)

    def add(self, record: Record) -> None:
        """Append ``record``: a line is there whole or is dropped when read."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(record), sort_keys=True) + "\n")
            file.flush()
        self._known[record.digest] = record


def _read(path: Path) -> Iterator[Record]:
    names = {field.name for field in fields(Record)}
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            yield Record(**{name: content[name] for name in names})
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):  # killed while writing it
                return
            raise StoreError(
                f"{path}:{number} is no record ({error})", "restore the file from version control"
            ) from None
