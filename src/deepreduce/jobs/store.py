"""The folder of jobs, addressed by content: what is finished stays finished, whatever is killed when.

    jobs/<digest>/spec.json  metrics.json  weights.safetensors  test.json  last.ckpt  lock

``metrics.json`` is written last: a job is done when it is there. Every file is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..files import _remedy, read_json, write_json, write_whole
from ..locks import hold

LOCK_PATIENCE_S = 60.0


class JobStore:
    """Jobs below ``root``. Methods take a job's digest."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, digest: str) -> Path:
        """Return where the job's files are."""
        return self.root / digest

    def checkpoint(self, digest: str) -> Path:
        """Return where the unfinished job's state is."""
        return self.folder(digest) / "last.ckpt"

    def is_done(self, digest: str) -> bool:
        """Return whether the training finished."""
        return (self.folder(digest) / "metrics.json").is_file()

    def metrics(self, digest: str) -> dict[str, Any]:
        """Return the finished job's metrics. Raises `StoreError` naming a file that is damaged."""
        path = self.folder(digest) / "metrics.json"
        keys = ("validation_accuracy", "seconds", "history", "weights_sha256")
        metrics = read_json(path, keys, parse_constant=float)  # a diverged training has NaN
        numbers = metrics["validation_accuracy"], metrics["seconds"]
        if not all(isinstance(n, int | float) for n in numbers) or not isinstance(metrics["history"], list):
            raise StoreError(f"{path} is damaged: it has values of other types than were written", _remedy(path))
        return metrics

    def test_accuracy(self, digest: str) -> float | None:
        """Return the test accuracy in percent, if it was read."""
        path = self.folder(digest) / "test.json"
        if not path.is_file():
            return None
        score = read_json(path, ("test_accuracy",))["test_accuracy"]
        if not isinstance(score, int | float):
            raise StoreError(
                f"{path} is damaged: its test_accuracy is not a number", "delete it and run the search again"
            )
        return float(score)

    def weights(self, digest: str) -> dict[str, Any]:
        """Return the trained tensors, checked against the hash in the metrics. Raises `StoreError` when damaged."""
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
