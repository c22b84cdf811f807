"""Executor on a cluster: every job is a Ray task, its state is in a store that all nodes see.

Ray runs tasks; what is kept, and what happens after a failure, is decided here: a task whose worker or node died is
submitted again and goes on from its last epoch (`deepreduce.jobs.cluster.worker`).
"""

from __future__ import annotations

import contextlib
import importlib
import ipaddress
import logging
import os
import pickle
import platform
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ...errors import DeepReduceError, MissingPackageError, SettingError, StoreError, TrainingError, one_line
from ...version import __version__
from ..executors import Event, available_cores
from ..job import Job
from ..store import JobStore
from .object_store import UnreachableError, open_object_store
from .shared_store import Depot
from .worker import Errand, run_errand

PATIENCE_S = 10.0  # for progress, which is not worth a search
RETRIES = 3


@dataclass
class _Sent:
    """A job on its way. ``attempts`` counts tasks in a row that died without adding to ``epoch``."""

    job: Job
    future: Future[None]
    attempts: int = 0
    epoch: int = 0


class RayExecutor:
    """Jobs as tasks of the Ray cluster at ``address``, or of one that is started here and ends with this process.

    Each task asks for ``cpus`` cores, which are its threads, and ``gpus`` GPUs (None: one where the cluster has any);
    ``jobs`` bounds how many are submitted at once (None: what the cluster has room for). ``store`` is a folder at the
    same path on all nodes, or a URL. A job is given up after ``retries`` + 1 workers in a row died before they finished
    an epoch.

    Raises `MissingPackageError` without Ray, `SettingError` for requests that no node can meet.
    """

    def __init__(
        self,
        store: str,
        *,
        address: str | None = None,
        jobs: int | None = None,
        cpus: float = 1,
        gpus: float | None = None,
        retries: int = RETRIES,
    ) -> None:
        _check("`cpus_per_job`", cpus, 0.001, 4096)
        _check("`gpus_per_job`", gpus or 0, 0, 64)
        _check("`retries`", retries, 0, 1000)
        _check("`jobs`", 1 if jobs is None else jobs, 1, 100_000)
        self._objects = open_object_store(store)
        self._depot: Depot | None = None
        self._offered: set[str] = set()
        address = address or os.environ.get("RAY_ADDRESS")
        self._ray = _import_ray(locked=not address)
        with _sigterm_handler_kept():
            self._own = _connect(self._ray, address)
        self._jobs, self._retries = jobs, retries
        self._cpus = cpus
        try:
            self._gpus = float(gpus if gpus is not None else self._ray.cluster_resources().get("GPU", 0) >= 1)
            self._check_room()
            self._mailbox = self._open_mailbox()
        except BaseException:
            self._disconnect()
            raise
        self._task = self._ray.remote(_perform_task)
        self._running: dict[Any, _Sent] = {}
        self._closed = False

    @property
    def slots(self) -> int:
        """Number of jobs that the cluster has room for at present, or the requested number."""
        if self._jobs is not None:
            return self._jobs
        total = self._ray.cluster_resources()
        room = [total.get("CPU", 0) / self._cpus]
        if self._gpus:
            room.append(total.get("GPU", 0) / self._gpus)
        return max(1, int(min(room)))

    def submit(self, job: Job) -> Future[None]:
        """Send ``job`` to the cluster; what the store has already is fetched instead."""
        future: Future[None] = Future()
        sent = _Sent(job, future)
        self._offer(job)
        if self._shared.is_done(job.spec.digest, job.test):
            self._collect(sent)
        else:
            self._send(sent)
        return future

    def poll(self, handle: Callable[[Event], None]) -> None:
        """Pass on what the workers reported and see which have ended, waiting up to a fifth of a second."""
        if not self._running:
            return
        ended, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0.2)
        for event in self._take_events():
            handle(event)
        for reference in ended:
            self._settle(self._running.pop(reference), reference)

    def close(self) -> None:
        """Kill what runs; unfinished jobs go on from their last epoch another time. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(Exception):  # the cluster may be gone
            for reference in self._running:
                self._ray.cancel(reference, force=True)
            self._ray.kill(self._mailbox)
        for sent in self._running.values():
            sent.future.set_exception(TrainingError("the search was stopped"))
        self._running.clear()
        self._disconnect()

    # --- jobs there and back ---

    @property
    def _shared(self) -> Depot:
        if self._depot is None:
            self._depot = Depot.open(self._objects)
        return self._depot

    def _offer(self, job: Job) -> None:
        """Put into the store what the job needs and is only here: the data, results of jobs that ran elsewhere."""
        if job.spec.data not in self._offered:
            self._shared.put_data(job.spec.data, job.snapshot)
            self._offered.add(job.spec.data)
        store = JobStore(job.store)
        for digest in (*job.spec.needs, *([job.spec.digest] if job.test else [])):
            if digest in self._offered:
                continue
            found = self._shared.metrics(digest)
            if found is None:
                self._shared.publish(store, digest)
            elif found["weights_sha256"] != store.metrics(digest)["weights_sha256"]:
                raise StoreError(
                    f"{self._objects.url} has another result of job {digest} than {store.folder(digest)}",
                    f"delete {store.folder(digest)} to take the store's, or choose another `store`",
                )
            self._offered.add(digest)

    def _send(self, sent: _Sent) -> None:
        digest, point = sent.job.spec.digest, sent.job.spec.point
        errand = Errand(sent.job, self._objects.url, self._shared.identity)
        options = {"num_cpus": self._cpus, "num_gpus": self._gpus, "max_retries": 0}
        name = f"deepreduce {digest[:8]} {point}{' (test)' if sent.job.test else ''}"
        try:
            content = self._ray.cloudpickle.dumps(errand)
        except Exception as error:
            reason = f"this model cannot be sent to another process: {one_line(error)}"
            raise SettingError(reason, "use jobs=1, or give the model as package.module:factory") from error
        task = self._task.options(**options, name=name)
        reference = task.remote(content, max(1, int(self._cpus)), self._gpus > 0, __version__, self._mailbox)
        self._running[reference] = sent

    def _settle(self, sent: _Sent, reference: Any) -> None:
        """Fetch the result of an ended task, submit it again, or report its failure."""
        try:
            error: Exception | None = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as broken:  # before our code could run
            hint = f"the nodes need deepreduce {__version__} and its [search] packages"
            error = TrainingError(f"the job cannot start there: {_last_line(broken)}", hint)
        except Exception as died:
            self._again(sent, one_line(died))
            return
        if isinstance(error, UnreachableError):
            self._again(sent, str(error))
        elif error is not None:
            sent.future.set_exception(error)
        else:
            self._collect(sent)

    def _again(self, sent: _Sent, reason: str) -> None:
        epoch = self._shared.last_epoch(sent.job.spec.digest)
        sent.attempts = 1 if epoch > sent.epoch else sent.attempts + 1
        sent.epoch = max(epoch, sent.epoch)
        if sent.attempts <= self._retries:
            self._send(sent)
            return
        message = f"{sent.attempts} workers in a row died before they finished epoch {sent.epoch + 1}: {reason[:300]}"
        hint = "out of memory? give each job more of a node by `cpus_per_job`; see Ray's logs; `retries` bounds this"
        sent.future.set_exception(TrainingError(message, hint))

    def _collect(self, sent: _Sent) -> None:
        store, digest = JobStore(sent.job.store), sent.job.spec.digest
        if not store.is_done(digest):
            self._shared.fetch(digest, store)
        if sent.job.test and store.test_accuracy(digest) is None:
            self._shared.fetch_test(digest, store)
        sent.future.set_result(None)

    # --- the cluster ---

    def _check_room(self) -> None:
        """Refuse a request that no node can meet, unless ``jobs`` says that the cluster grows."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if self._jobs is None and not any(
            node.get("CPU", 0) >= self._cpus and node.get("GPU", 0) >= self._gpus for node in nodes
        ):
            most = max((node.get("CPU", 0), node.get("GPU", 0)) for node in nodes) if nodes else (0, 0)
            raise SettingError(
                f"no node of the cluster has {self._cpus:g} CPUs and {self._gpus:g} GPUs "
                f"(the largest has {most[0]:g} and {most[1]:g})",
                "lower `cpus_per_job` or `gpus_per_job`; for a cluster that grows give `jobs`",
            )

    def _open_mailbox(self) -> Any:
        here = self._ray.get_runtime_context().get_node_id()
        scheduling = importlib.import_module("ray.util.scheduling_strategies")
        beside = scheduling.NodeAffinitySchedulingStrategy(here, soft=False)  # a node that dies takes no news along
        options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": beside}
        return self._ray.remote(_mailbox_class()).options(**options).remote()

    def _take_events(self) -> list[Event]:
        try:
            events = self._ray.get(self._mailbox.take.remote(), timeout=PATIENCE_S)
        except Exception:
            if not self._ray.is_initialized():
                raise
            return []
        return [pickle.loads(event) for event in events]

    def _disconnect(self) -> None:
        if self._own:
            self._ray.shutdown()


def _check(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise SettingError(f"{option} {value:g} is not in [{least:g}, {most:g}]")


def _import_ray(locked: bool) -> Any:
    """Ray; ``locked`` with settings for a cluster that is started here, which it reads when it is imported.

    They are a secret token that its ports ask for (Ray 2.52 on), and that nothing is sent to Ray's makers.
    """
    if locked and "ray" not in sys.modules:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if "RAY_AUTH_MODE" not in os.environ:
            os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingPackageError("`executor` ray needs Ray", "pip install 'deepreduce[cluster]'") from error


@contextlib.contextmanager
def _sigterm_handler_kept() -> Iterator[None]:
    """Give SIGTERM back to the handler that it had, if any: Ray puts one of its own there when it starts."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(handler):
            signal.signal(signal.SIGTERM, handler)


def _connect(ray: Any, address: str | None) -> bool:
    """Join the cluster at ``address``, else start one; True if the connection is this executor's to close."""
    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        _knock(ray, address)
        try:
            ray.init(address=address, **quiet)
        except Exception as error:
            message = f"there is no Ray cluster at {address}: {one_line(error)[:300]}"
            raise SettingError(message, "start one: ray start --head") from error
        return True
    ray.init(
        address="local",
        num_cpus=available_cores(),
        include_dashboard=False,
        object_store_memory=100 * 2**20,  # what is large goes through the job store
        **quiet,
    )
    return True


def _knock(ray: Any, address: str) -> None:
    """Raise `SettingError` if nothing answers at HOST:PORT: Ray itself would try for many minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto" and the like
    try:
        if ipaddress.ip_address(socket.gethostbyname(host)).is_loopback and "://" not in address:
            host = ray.util.get_node_ip_address()  # so does Ray
        socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
    except (OSError, OverflowError, ValueError) as error:
        message = f"there is no Ray cluster at {address}: {host}:{port}: {one_line(error)}"
        raise SettingError(message, "start one: ray start --head") from error


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


# --- on the nodes ---


def _mailbox_class() -> type:
    """Events, pickled, on their way to the driver. Ray sends a local class as it is: its process loads no torch."""

    class Mailbox:
        def __init__(self) -> None:
            self.events: list[bytes] = []

        def put(self, event: bytes) -> None:
            self.events.append(event)

        def take(self) -> list[bytes]:
            events, self.events = self.events, []
            return events

    return Mailbox


def _perform_task(content: bytes, threads: int, on_gpu: bool, version: str, mailbox: Any) -> Exception | None:
    """Do the errand; what is wrong with the job is returned, so that an exception means that the worker died."""
    import torch

    if version != __version__:
        message = f"node {platform.node()} has deepreduce {__version__}, the driver {version}"
        return StoreError(message, "install the same version everywhere")
    torch.set_num_threads(threads)
    last: list[Any] = []

    def tell(event: Event) -> None:
        last[:] = [mailbox.put.remote(pickle.dumps(event))]

    try:
        errand: Errand = pickle.loads(content)
        run_errand(errand, "cuda:0" if on_gpu else "cpu", tell)
    except DeepReduceError as error:
        return type(error)(f"{error.message} [node {platform.node()}]", error.hint)
    except Exception as error:  # of a type that the driver may not be able to unpickle
        return TrainingError(f"{type(error).__name__}: {one_line(error)} [node {platform.node()}]")
    finally:
        _flush(last)
    return None


def _flush(references: list[Any]) -> None:
    """Let progress arrive before the end of its job does."""
    ray = importlib.import_module("ray")
    started = time.monotonic()
    for reference in references:
        with contextlib.suppress(Exception):
            ray.get(reference, timeout=max(0.0, PATIENCE_S - (time.monotonic() - started)))
