"""A data set as one safetensors file, so that worker processes train on the very bytes that the driver hashed.

The tensors are ``{train,validation,test}.{images,labels}``; everything else is JSON in the header, under "deepreduce".
Restoring maps the file into memory: nothing is parsed again, and workers on one machine share one copy.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from ..errors import DataError, MissingPackageError, one_line
from ..files import parse_json
from .dataset import Dataset, Split, need_file

FORMAT = 1
_SPLITS = ("train", "validation", "test")
_KEY = "deepreduce"


def save(dataset: Dataset, path: Path) -> None:
    """Write ``dataset`` to ``path``, which holds either the old file or the whole new one, whatever happens meanwhile.

    Raises `DataError` when the folder cannot be written, `MissingPackageError` without safetensors.
    """
    save_file = _safetensors("torch").save_file
    tensors = {}
    for name in _SPLITS:
        split: Split = getattr(dataset, name)
        tensors[f"{name}.images"] = split.images.contiguous()
        tensors[f"{name}.labels"] = split.labels.contiguous()
    header = {
        "format": FORMAT,
        "name": dataset.name,
        "classes": dataset.classes,
        "mean": dataset.mean,
        "std": dataset.std,
        "notices": dataset.notices,
        "digest": dataset.digest,
    }
    scratch = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, scratch, metadata={_KEY: json.dumps(header)})
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except (OSError, _safetensors().SafetensorError) as error:  # safetensors wraps the errors of its own writing
        raise DataError(f"{path} cannot be written: {error}") from error
    finally:
        scratch.unlink(missing_ok=True)


def restore(path: Path, *, check: bool = True) -> Dataset:
    """Return the data set that `save` wrote to ``path``, mapped into memory.

    With ``check`` every byte is read once and compared with the digest of the data set that was saved. Raises
    `DataError` when the file is missing, damaged, no snapshot, or of another format version.
    """
    safetensors = _safetensors()
    need_file(path, "a data set snapshot")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = _header(path, file.metadata() or {})
            train, validation, test = (
                Split(file.get_tensor(f"{n}.images"), file.get_tensor(f"{n}.labels")) for n in _SPLITS
            )
        digest = str(header["digest"])
        dataset = Dataset(
            header["name"],
            tuple(header["classes"]),
            train,
            validation,
            test,
            tuple(header["mean"]),
            tuple(header["std"]),
            tuple(header["notices"]),
        )
    except (safetensors.SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not a snapshot, or a damaged one: {one_line(error):.200}", "delete it to write it again"
        ) from error
    if check and dataset.digest != digest:
        raise DataError(
            f"{path} is damaged: its images hash to {dataset.digest[:12]}…, {digest[:12]}… were saved",
            "delete it to write it again",
        )
    return dataset


def _header(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    if _KEY not in metadata:
        raise DataError(f"{path} is a safetensors file, but not a data set snapshot")
    header: dict[str, Any] = parse_json(metadata[_KEY])
    if header["format"] != FORMAT:
        raise DataError(
            f"{path} has snapshot format {header['format']!r:.40}, this version reads {FORMAT}",
            "delete it to write it again",
        )
    return header


def _safetensors(part: str = "") -> Any:
    try:
        return importlib.import_module(f"safetensors.{part}" if part else "safetensors")
    except ImportError as error:
        raise MissingPackageError("snapshots need safetensors", "pip install 'deepreduce[search]'") from error
