"""Strict reading of JSON objects: every failure names the file, the path to the key and what was expected."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ...errors import StoreError
from ...files import parse_json

_RERUN = "it may come from another version of deepreduce, or was edited: run the search again"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEX = re.compile(r"[0-9a-f]+")

T = TypeVar("T")


class Fields:
    """One JSON object read key by key; ``where`` is its path, such as ``DIR/frontier.json: networks[3]``."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise StoreError(f"{where} must be an object, not {_show(value)}", _RERUN)
        self._value = value
        self._where = where

    def raw(self, key: str) -> Any:
        """Return the value at ``key``, which must be there."""
        if key not in self._value:
            raise StoreError(f"{self._where}: {key!r} is missing", _RERUN)
        return self._value[key]

    def has(self, key: str) -> bool:
        """Return whether an optional key is there."""
        return key in self._value

    def file_name(self, key: str) -> str:
        """Return the name of a file in a folder that the reader chooses: nothing in it may leave that folder."""
        value = self.text(key)
        return value if _FILE.fullmatch(value) else self._refuse(key, value, "a file name")

    def text(self, key: str) -> str:
        """Return a string."""
        value = self.raw(key)
        return value if isinstance(value, str) else self._refuse(key, value, "text")

    def choice(self, key: str, known: tuple[str, ...]) -> str:
        """Return a string out of ``known``."""
        value = self.text(key)
        return value if value in known else self._refuse(key, value, f"one of {', '.join(known)}")

    def digest(self, key: str) -> str:
        """Lower-case hexadecimal; it becomes a folder's name, so nothing else may pass."""
        value = self.text(key)
        return value if _HEX.fullmatch(value) else self._refuse(key, value, "a hexadecimal digest")

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.raw(key)
        return value if isinstance(value, bool) else self._refuse(key, value, "true or false")

    def count(self, key: str) -> int:
        """Return a whole number from 0 up."""
        value = self.raw(key)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        return self._refuse(key, value, "a whole number from 0 up")

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self.raw(key)
        return float(value) if is_number(value) else self._refuse(key, value, "a number")

    def number_or_none(self, key: str) -> float | None:
        """Return a finite number, or null where there is none yet."""
        return None if self.raw(key) is None else self.number(key)

    def percent_or_none(self, key: str) -> float | None:
        """Return an accuracy in percent, or null where there is none yet."""
        value = self.number_or_none(key)
        return value if value is None or 0 <= value <= 100 else self._refuse(key, value, "a percentage from 0 to 100")

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        return tuple(Fields({key: item}, self._where).text(key) for item in self._list(key))

    def counts(self, key: str, missing: int | None = None) -> tuple[int, ...]:
        """Return a list of whole numbers, with ``missing`` for null where that is given."""
        return tuple(
            missing if item is None and missing is not None else Fields({key: item}, self._where).count(key)
            for item in self._list(key)
        )

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a list of finite numbers."""
        return tuple(Fields({key: item}, self._where).number(key) for item in self._list(key))

    def child(self, key: str) -> Fields:
        """Return the object at ``key``."""
        return Fields(self.raw(key), f"{self._where}: {key}")

    def objects(self, key: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
        """Return a list of objects, each read by ``read``."""
        return tuple(read(Fields(v, f"{self._where}: {key}[{i}]")) for i, v in enumerate(self._list(key)))

    def named(self, read: Callable[[str, Fields], T]) -> tuple[T, ...]:
        """Return every value of this object, read by ``read`` with its key, in the order of the file."""
        return tuple(read(str(key), Fields(value, f"{self._where}: {key}")) for key, value in self._value.items())

    def flat(self, prefix: str = "") -> tuple[tuple[str, str], ...]:
        """This object as (dotted key, text) rows, for showing."""
        rows: list[tuple[str, str]] = []
        for key, value in self._value.items():
            if isinstance(value, Mapping) and value:
                rows.extend(Fields(value, self._where).flat(f"{prefix}{key}."))
            else:
                shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                rows.append((f"{prefix}{key}", shown))
        return tuple(rows)

    def _list(self, key: str) -> list[Any]:
        value = self.raw(key)
        return list(value) if isinstance(value, list | tuple) else self._refuse(key, value, "a list")

    def _refuse(self, key: str, value: object, expected: str) -> NoReturn:
        raise StoreError(f"{self._where}: {key!r} must be {expected}, not {_show(value)}", _RERUN)


def read_json(path: Path) -> Fields:
    """Return the object in the JSON file ``path``; NaN and Infinity, which JSON does not know, are refused."""
    try:
        return Fields(parse_json(path.read_bytes()), str(path))
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise StoreError(f"{path} is not valid JSON: {error}", _RERUN) from error


def is_number(value: object) -> bool:
    """Return whether ``value`` is a finite int or float (``True`` is neither here)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
