"""Records of finished trainings, one JSON object a line: small enough to be kept with the source."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import StoreError
from ..files import parse_json
from ..locks import lock


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
    front_padding: bool = False
    date: str | None = None


class Records:
    """The records in the file ``path``, by digest. Later lines win."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = {record.digest: record for record in _read(path)} if path.is_file() else {}
        self._trained = {_of(record) for record in self._known.values()}

    def __iter__(self) -> Iterator[Record]:
        return iter(self._known.values())

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def __getitem__(self, digest: str) -> Record:
        return self._known[digest]

    def get(self, digest: str) -> Record | None:
        """Return the record of that job, if it is known."""
        return self._known.get(digest)

    def mentions(self, network: str, data: str, seed: int) -> bool:
        """Return whether any training of that network is known: what is not there need not be hashed to be looked up.

        At any scale: two scales may have a training in common.
        """
        return (network, data, seed) in self._trained

    def at(self, scale: str, precision: str) -> Counter[int]:
        """Return how many records of ``scale`` were computed in ``precision``, by seed."""
        return Counter(r.seed for r in self if r.scale == scale and r.settings.get("precision") == precision)

    def add(self, record: Record) -> None:
        """Append ``record``: a line is there whole or is dropped when read. Raises `StoreError`."""
        line = json.dumps(asdict(record), sort_keys=True) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                lock(file.fileno())  # two runs may share one file
                _mend_end(file)
                file.write(line.encode())
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror}", "check its permissions") from error
        self._known[record.digest] = record
        self._trained.add(_of(record))


def _of(record: Record) -> tuple[str, str, int]:
    return record.network, record.data, record.seed


def _mend_end(file: BinaryIO) -> None:
    """End the last line of ``file`` where a kill cut it off; what is not a record is removed."""
    file.seek(0)
    content = file.read()
    whole, _, rest = content.rpartition(b"\n")
    if not rest:
        return
    try:
        _record(rest.decode())
        file.write(b"\n")
    except (ValueError, KeyError, TypeError):
        file.truncate(len(whole) + 1 if whole else 0)


def _record(line: str) -> Record:
    """Return the record of a line; unknown fields are left out. Raises `ValueError`, `KeyError` or `TypeError`."""
    content = parse_json(line)
    needed = {field.name: content[field.name] for field in fields(Record) if field.default is MISSING}
    return Record(**needed, **{name: content[name] for name in _OPTIONAL if name in content})


_OPTIONAL = [field.name for field in fields(Record) if field.default is not MISSING]


def _read(path: Path) -> Iterator[Record]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}", "restore the file from version control") from None
    for number, line in enumerate(lines, 1):
        try:
            yield _record(line)
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):  # killed while writing it
                return
            raise StoreError(
                f"{path}:{number} is not a record ({error})", "restore the file from version control"
            ) from None
