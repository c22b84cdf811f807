"""The folder of jobs, addressed by content: what is finished stays finished, whatever is killed when.

    jobs/<digest>/spec.json  metrics.json  weights.safetensors  test.json  last.ckpt  lock

``metrics.json`` is written last: a job is done when it is there. Every file is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..files import write_whole

LOCK_PATIENCE_S = 60.0


class JobStore:
    """Jobs below ``root``. Methods take a job's digest."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, digest: str) -> Path:
        """Where the job's files are."""
        return self.root / digest

    def checkpoint(self, digest: str) -> Path:
        """Where the unfinished job's state is."""
        return self.folder(digest) / "last.ckpt"

    def is_done(self, digest: str) -> bool:
        """Whether the training finished."""
        return (self.folder(digest) / "metrics.json").is_file()

    def metrics(self, digest: str) -> dict[str, Any]:
        """The finished job's metrics. Raises `StoreError` naming a file that is damaged."""
        path = self.folder(digest) / "metrics.json"
        metrics = read_json(path, ("validation_accuracy", "seconds", "history", "weights_sha256"))
        numbers = metrics["validation_accuracy"], metrics["seconds"]
        if not all(isinstance(n, int | float) for n in numbers) or not isinstance(metrics["history"], list):
            raise StoreError(f"{path} is damaged: it has values of other types than were written", _remedy(path))
        return metrics

    def test_accuracy(self, digest: str) -> float | None:
        """The test accuracy in percent, if it was read."""
        path = self.folder(digest) / "test.json"
        if not path.is_file():
            return None
        score = read_json(path, ("test_accuracy",))["test_accuracy"]
        if not isinstance(score, int | float):
            raise StoreError(f"{path} is damaged: its test_accuracy is no number", "delete it and run the search again")
        return float(score)

    def weights(self, digest: str) -> dict[str, Any]:
        """The trained tensors, checked against the hash in the metrics. Raises `StoreError` when damaged."""
        from safetensors.torch import load

        path = self.folder(digest) / "weights.safetensors"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}", _remedy(path)) from error
        if hashlib.sha256(content).hexdigest() != self.metrics(digest)["weights_sha256"]:
            raise StoreError(f"{path} is damaged: its content is not what was written", _remedy(path))
        return load(content)

    def finish(self, digest: str, weights: dict[str, Any], metrics: dict[str, Any]) -> None:
        """Store the result and drop the checkpoint."""
        from safetensors.torch import save

        content = save({name: tensor.contiguous() for name, tensor in weights.items()})
        write_whole(self.folder(digest) / "weights.safetensors", content)
        metrics = {**metrics, "weights_sha256": hashlib.sha256(content).hexdigest()}
        write_json(self.folder(digest) / "metrics.json", metrics)
        self.checkpoint(digest).unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, digest: str) -> Iterator[None]:
        """Hold the job: a second process waits for the first, which frees it however it ends."""
        folder = self.folder(digest)
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder / "lock", f"job {digest}", LOCK_PATIENCE_S):
            yield


@contextlib.contextmanager
def hold(path: Path, what: str, patience_s: float) -> Iterator[None]:
    """An exclusive lock on ``path`` that the kernel releases when this process ends, even by SIGKILL.

    Raises `StoreError` naming ``what`` when another process still holds it after ``patience_s`` seconds.
    """
    try:
        file = path.open("a+")
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if not isinstance(error, BlockingIOError):
                    raise StoreError(f"{path} cannot be locked: {error.strerror}", "use a local folder") from error
                if time.monotonic() > deadline:
                    file.seek(0)
                    owner = file.read().strip() or "unknown"
                    raise StoreError(f"{what} is in use by process {owner}", "wait for it or stop it") from None
                time.sleep(0.2)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON, whole or not at all."""
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())


def read_json(path: Path, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """The JSON object in ``path`` with at least ``keys``. Raises `StoreError` naming the file and what is wrong."""
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
        return "choose another --out folder"
    if path.name == "frontier.json":
        return f"delete this file alone and run the search again: what is below {path.parent / 'jobs'} is kept"
    return f"delete the folder {path.parent} and run the search again: only this job is repeated"
