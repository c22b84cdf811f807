"""Worker on another machine: fetches what a job needs, runs it, returns every epoch and the result.

<scratch>/<store id>/data/<digest>.safetensors   data sets, fetched once per node
                     results/<digest>/           weights that other jobs start from or learn from, likewise
                     tasks/<random>/             one job's own files, removed when it ends
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...data.snapshot import restore
from ...errors import DataError, DeepReduceError, StoreError
from ...locks import hold
from ...paths import scratch_folder
from ...train.fit import Epoch
from ..executors import EpochEnded, Event, Started
from ..job import Job, perform
from ..store import JobStore
from .object_store import open_object_store
from .shared_store import Depot

FETCHING_S = 3600.0  # how long one worker of a node waits for another that fetches the same


@dataclass(frozen=True)
class Errand:
    """A job as it travels: its own paths are the driver's, what it needs is in the store at ``url``."""

    job: Job
    url: str
    identity: str


class _FinishedElsewhereError(DeepReduceError):
    """Another worker finished the job meanwhile."""


def run_errand(errand: Errand, device: str, tell: Callable[[Event], None]) -> None:
    """Do the job on ``device``, from its last checkpoint in the store on; its result is in the store then.

    Every epoch's checkpoint is in the store before ``tell`` hears of the epoch: a worker that dies loses the epoch that
    it was in. Raises `DeepReduceError` subclasses; `UnreachableError` where another try may help.
    """
    job, spec = errand.job, errand.job.spec
    depot = Depot.join(open_object_store(errand.url), errand.identity)
    tell(Started(spec.digest))
    if depot.is_done(spec.digest, job.test):
        return
    node = Node(depot, scratch_folder())
    with node.task() as store:
        for needed in dict.fromkeys([*spec.needs, *([spec.digest] if job.test else [])]):
            node.lend(needed, store)
        depot.load_checkpoint(spec.digest, store.checkpoint(spec.digest))

        def on_epoch(digest: str, record: Epoch) -> None:
            if depot.is_done(digest):
                raise _FinishedElsewhereError(f"job {digest} was finished by another worker")
            depot.save_checkpoint(digest, record.epoch, store.checkpoint(digest))
            tell(EpochEnded(digest, record))

        local = replace(job, store=store.root, snapshot=node.data(spec.data))
        with contextlib.suppress(_FinishedElsewhereError):
            perform(local, device, on_epoch)
            (depot.publish_test if job.test else depot.publish)(store, spec.digest)


class Node:
    """This machine's copies of what is in ``depot``, below ``scratch``. Raises `StoreError` if others can write there.

    What a killed worker left in its task's folder is removed by the next task.
    """

    def __init__(self, depot: Depot, scratch: Path) -> None:
        self.depot = depot
        _own(scratch)
        self.root = scratch / depot.identity
        for name in ("data", "results", "tasks"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def data(self, digest: str) -> Path:
        """Return the data set's snapshot, fetched and checked if it is not there yet."""
        path = self.root / "data" / f"{digest}.safetensors"
        with self._fetching(f"data-{digest}"):
            if not path.exists():
                fresh = path.with_name(f"{path.name}.unchecked")
                self.depot.get_data(digest, fresh)
                if not _holds(fresh, digest):
                    raise StoreError(
                        f"{self.depot.objects.url}/data/{digest}.safetensors is damaged", "delete it and search again"
                    )
                fresh.replace(path)
        return path

    def lend(self, digest: str, store: JobStore) -> None:
        """Let ``store`` read the finished job ``digest``, fetched if it is not here yet."""
        results = JobStore(self.root / "results")
        with self._fetching(digest):
            if not results.is_done(digest):
                self.depot.fetch(digest, results)
        store.folder(digest).mkdir(parents=True)
        for name in ("weights.safetensors", "metrics.json"):
            (store.folder(digest) / name).symlink_to(results.folder(digest) / name)

    @contextlib.contextmanager
    def task(self) -> Iterator[JobStore]:
        """Yield an empty store of one task's own."""
        tasks = self.root / "tasks"
        with contextlib.ExitStack() as held:
            with hold(self.root / "tasks.lock", str(tasks), FETCHING_S):
                for path in tasks.iterdir():
                    with contextlib.suppress(StoreError), hold(path / "lock", "a task", patience_s=0):
                        shutil.rmtree(path, ignore_errors=True)
                folder = Path(tempfile.mkdtemp(dir=tasks))
                held.enter_context(hold(folder / "lock", "this task", patience_s=0))
            held.callback(shutil.rmtree, folder, ignore_errors=True)
            yield JobStore(folder / "jobs")

    def _fetching(self, what: str) -> contextlib.AbstractContextManager[None]:
        return hold(self.root / f"{what}.lock", what, FETCHING_S)


def _holds(path: Path, digest: str) -> bool:
    """Return whether a snapshot is whole and of that data set."""
    try:
        return restore(path).digest == digest
    except DataError:
        return False


def _own(folder: Path) -> None:
    """Make ``folder``, which no other user may write: weights and data are read from it unasked."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise StoreError(f"{folder} cannot be used: {error.strerror}", "set $DEEPREDUCE_SCRATCH") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise StoreError(f"{folder} is another user's, or others may write it", "set $DEEPREDUCE_SCRATCH")
