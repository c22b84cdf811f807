"""Jobs and data of searches at a place that many machines see (`deepreduce.jobs.cluster.object_store`), shared without
locks.

    store.json                              which store this is
    data/<digest>.safetensors               a data set
    jobs/<digest>/spec.json                 the full specification
    jobs/<digest>/epoch-000007.ckpt         state after that epoch, while unfinished
    jobs/<digest>/weights-<sha256>.safetensors
    jobs/<digest>/metrics.json, test.json   created once, never replaced

Two workers on one job (two searches, or one that was thought dead) cost work and nothing else: weights and data are
named by their content, so neither overwrites the other's; a checkpoint is named by its epoch and the highest counts;
and the first `metrics.json`, which names its weights, is the result for good.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from pathlib import Path
from typing import Any

from ...errors import StoreError
from ...files import parse_json, write_whole
from ...train.checkpoint import is_intact
from ..store import JobStore
from .object_store import Objects

FORMAT = 1
MARKER = "store.json"
_CHECKPOINT = re.compile(r"epoch-(\d{6})\.ckpt")


class Depot:
    """The jobs and data sets below ``objects``, in the store called ``identity``. Methods take digests."""

    def __init__(self, objects: Objects, identity: str) -> None:
        self.objects = objects
        self.identity = identity

    @classmethod
    def open(cls, objects: Objects) -> Depot:
        """Return the store there, begun if there is none. Raises `StoreError` for one of another format."""
        fresh = {"format": FORMAT, "id": secrets.token_hex(16)}
        objects.create(MARKER, json.dumps(fresh).encode())
        found = _parse(objects, MARKER, ("format", "id"))
        if found is None:
            raise StoreError(f"{objects.url} does not keep what is written", "choose another `store`")
        if found["format"] != FORMAT:
            raise StoreError(
                f"{objects.url} is a store of format {found['format']}, this version writes {FORMAT}",
                "choose another `store`",
            )
        return cls(objects, str(found["id"]))

    @classmethod
    def join(cls, objects: Objects, identity: str) -> Depot:
        """Return the store that another machine opened. Raises `StoreError` if what is here is not that one."""
        found = _parse(objects, MARKER, ("id",))
        if found is None or found["id"] != identity:
            raise StoreError(
                f"{objects.url} is not the driver's store on this machine",
                "give `store` a folder that all nodes mount at this path, or a URL like s3://bucket/prefix",
            )
        return cls(objects, identity)

    # --- results ---

    def metrics(self, digest: str) -> dict[str, Any] | None:
        """Return the finished job's metrics; None if it is not finished."""
        return _parse(self.objects, f"jobs/{digest}/metrics.json", ("weights_sha256",))

    def is_done(self, digest: str, test: bool = False) -> bool:
        """Return whether the training finished or, with ``test``, its test accuracy was read."""
        name = "test.json" if test else "metrics.json"
        return _parse(self.objects, f"jobs/{digest}/{name}", ()) is not None

    def publish(self, store: JobStore, digest: str) -> None:
        """Put the result that ``store`` has here, unless there is one; the checkpoints can go then."""
        folder = store.folder(digest)
        weights = _weights(digest, store.metrics(digest))
        if (folder / "spec.json").is_file():
            self.objects.upload(folder / "spec.json", f"jobs/{digest}/spec.json")
        self.objects.upload(folder / "weights.safetensors", weights)
        if not self.objects.create(f"jobs/{digest}/metrics.json", (folder / "metrics.json").read_bytes()):
            winner = self.metrics(digest)
            if winner is not None and _weights(digest, winner) != weights:
                self.objects.delete(weights)
        for name in self._checkpoints(digest).values():
            self.objects.delete(name)

    def fetch(self, digest: str, store: JobStore) -> None:
        """Copy the finished job into ``store``. Raises `StoreError` if its weights are not what was written."""
        content = self.objects.read(f"jobs/{digest}/metrics.json")
        metrics = self.metrics(digest)
        if content is None or metrics is None:
            raise StoreError(f"{self.objects.url} has no result of job {digest}", "run the same command again")
        name, path = _weights(digest, metrics), store.folder(digest) / "weights.safetensors"
        if not self.objects.download(name, path) or _sha256(path) != metrics["weights_sha256"]:
            raise StoreError(
                f"{self.objects.url}/{name} is damaged: its content is not what was written",
                f"delete {self.objects.url}/jobs/{digest} and run the search again: only this job is repeated",
            )
        spec = self.objects.read(f"jobs/{digest}/spec.json")
        if spec is not None:
            write_whole(store.folder(digest) / "spec.json", spec)
        write_whole(store.folder(digest) / "metrics.json", content)

    def publish_test(self, store: JobStore, digest: str) -> None:
        """Put the test accuracy that ``store`` has here, unless there is one."""
        self.objects.create(f"jobs/{digest}/test.json", (store.folder(digest) / "test.json").read_bytes())

    def fetch_test(self, digest: str, store: JobStore) -> None:
        """Copy the test accuracy into ``store``."""
        content = self.objects.read(f"jobs/{digest}/test.json")
        if content is None:
            raise StoreError(f"{self.objects.url} has no test accuracy of job {digest}", "run the same command again")
        write_whole(store.folder(digest) / "test.json", content)

    # --- checkpoints ---

    def last_epoch(self, digest: str) -> int:
        """Return the epoch whose end the newest checkpoint holds; 0 if there is none."""
        return max(self._checkpoints(digest), default=0)

    def save_checkpoint(self, digest: str, epoch: int, path: Path) -> None:
        """Put the state after ``epoch`` here; those of earlier epochs can go then."""
        self.objects.upload(path, f"jobs/{digest}/epoch-{epoch:06d}.ckpt")
        for earlier, name in self._checkpoints(digest).items():
            if earlier < epoch:
                self.objects.delete(name)

    def load_checkpoint(self, digest: str, path: Path) -> int:
        """Copy the newest checkpoint to ``path`` and return its epoch; 0 if there is none. Damaged ones are deleted."""
        for _ in range(10):  # others may add and delete meanwhile
            checkpoints = self._checkpoints(digest)
            if not checkpoints:
                return 0
            epoch = max(checkpoints)
            if self.objects.download(checkpoints[epoch], path):
                if is_intact(path.read_bytes()):
                    return epoch
                self.objects.delete(checkpoints[epoch])
                path.unlink()
        return 0

    def _checkpoints(self, digest: str) -> dict[int, str]:
        matches = ((_CHECKPOINT.fullmatch(name), name) for name in self.objects.names(f"jobs/{digest}"))
        return {int(match[1]): f"jobs/{digest}/{name}" for match, name in matches if match}

    # --- data ---

    def put_data(self, digest: str, path: Path) -> None:
        """Put a data set's snapshot here, unless it is."""
        if f"{digest}.safetensors" not in self.objects.names("data"):
            self.objects.upload(path, f"data/{digest}.safetensors")

    def get_data(self, digest: str, path: Path) -> None:
        """Copy a data set's snapshot to ``path``; the caller compares its digest. Raises `StoreError` if it is gone."""
        if not self.objects.download(f"data/{digest}.safetensors", path):
            raise StoreError(f"{self.objects.url} has no data {digest}", "run the same command again")


def _weights(digest: str, metrics: dict[str, Any]) -> str:
    """Return the name of a result's weights. Raises `StoreError` when the metrics name none."""
    content = metrics["weights_sha256"]
    if not isinstance(content, str) or not re.fullmatch("[0-9a-f]{64}", content):
        raise StoreError(f"the metrics of job {digest} are damaged: they name no weights", f"delete jobs/{digest}")
    return f"jobs/{digest}/weights-{content}.safetensors"


def _parse(objects: Objects, name: str, keys: tuple[str, ...]) -> dict[str, Any] | None:
    """Return a JSON object with ``keys``; None if there is none of that name. Raises `StoreError` for a damaged one."""
    content = objects.read(name)
    if content is None:
        return None
    try:
        found = parse_json(content, parse_constant=float)  # a diverged training has NaN
    except ValueError:
        found = None
    if not isinstance(found, dict) or any(key not in found for key in keys):
        folder = name.rpartition("/")[0]
        remedy = f"delete {objects.url}/{folder} and run the search again" if folder else "choose another `store`"
        raise StoreError(f"{objects.url}/{name} is damaged", remedy)
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
