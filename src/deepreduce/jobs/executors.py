"""Executors of jobs: worker processes of this machine, or this process; for clusters see ray_executor.py."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.queues import Queue as ProcessQueue
from typing import Any, Protocol

from ..errors import DeepReduceError, SettingError, TrainingError, one_line
from ..train.fit import Epoch
from .job import Job, perform


@dataclass(frozen=True)
class Started:
    """A job has begun."""

    digest: str


@dataclass(frozen=True)
class EpochEnded:
    """A job has trained another epoch."""

    digest: str
    record: Epoch


Event = Started | EpochEnded
DIED = "out of memory: run fewer jobs at once; or, in a script, no `if __name__ == '__main__':` around the search"


class Executor(Protocol):
    """Runs jobs, some at once."""

    @property
    def slots(self) -> int:
        """Number of jobs at once."""

    def submit(self, job: Job) -> Future[None]:
        """Queue ``job``; the future ends when it is done, or with the exception that stopped it."""

    def poll(self, handle: Callable[[Event], None]) -> None:
        """Pass on what happened since the last call, in order, waiting a moment if nothing did."""

    def close(self) -> None:
        """Stop everything at once; unfinished jobs go on from their last epoch another time."""


def devices(wanted: str) -> list[str]:
    """Return the torch devices that ``wanted`` (auto, cpu, cuda, cuda:1 ...) means here. Raises `SettingError` if
    absent.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return [f"cuda:{index}" for index in range(count)] or ["cpu"]
    if wanted == "cuda" and count:
        return [f"cuda:{index}" for index in range(count)]
    if wanted == "cpu" or wanted in {f"cuda:{index}" for index in range(count)}:
        return [wanted]
    raise SettingError(f"there is no device {wanted!r} here", "use `device` cpu, or auto for whatever there is")


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class InlineExecutor:
    """One job after another in this process: for notebooks and for networks that no other process could import."""

    slots = 1

    def __init__(self, device: str = "auto") -> None:
        self._device = devices(device)[0]
        self._waiting: list[tuple[Job, Future[None]]] = []

    def submit(self, job: Job) -> Future[None]:
        """Queue ``job``; it runs inside a later `poll`."""
        future: Future[None] = Future()
        self._waiting.append((job, future))
        return future

    def poll(self, handle: Callable[[Event], None]) -> None:
        """Run the next job, if any."""
        if not self._waiting:
            return
        job, future = self._waiting.pop(0)
        handle(Started(job.spec.digest))
        try:
            perform(job, self._device, lambda digest, record: handle(EpochEnded(digest, record)))
            future.set_result(None)
        except Exception as error:
            future.set_exception(error)

    def close(self) -> None:
        """Do nothing: no job runs between calls."""


class ProcessExecutor:
    """``slots`` worker processes, each with its share of the cores and of the GPUs.

    Each slot is a pool of one, so that a worker that is killed (by the kernel, for memory) costs its own job only.
    """

    def __init__(self, slots: int, device: str = "auto") -> None:
        if not 1 <= slots <= 1024:
            raise SettingError(f"`jobs` {slots} is not in [1, 1024]")
        self.slots = slots
        self._devices = devices(device)
        self._context = multiprocessing.get_context("spawn")
        self._queue: ProcessQueue[Event] = self._context.Queue()
        self._work: queue.Queue[tuple[Job, Future[None]] | None] = queue.Queue()
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._closed = False
        self._lock = threading.Lock()
        for slot in range(slots):
            threading.Thread(target=self._serve, args=(slot,), daemon=True).start()

    def submit(self, job: Job) -> Future[None]:
        """Queue ``job`` for the next free slot."""
        future: Future[None] = Future()
        try:
            pickle.dumps(job)
        except Exception as error:
            reason = f"this model cannot be sent to another process: {one_line(error)}"
            raise SettingError(reason, "use jobs=1, or give the model as file.py:factory") from error
        self._work.put((job, future))
        return future

    def poll(self, handle: Callable[[Event], None]) -> None:
        """Pass on what the workers reported, waiting up to a fifth of a second for it."""
        try:
            handle(self._queue.get(timeout=0.2))
            while True:
                handle(self._queue.get_nowait())
        except queue.Empty:
            return

    def close(self) -> None:
        """Kill the workers, those that are just starting too, and wait until they have ended."""
        with self._lock:
            self._closed = True
            for pool in self._pools.values():
                _kill(pool)
        for _ in range(self.slots):
            self._work.put(None)

    def _serve(self, slot: int) -> None:
        # Workers inherit the mask: the terminal's Ctrl-C is the driver's to handle.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while (item := self._work.get()) is not None and not self._closed:
            job, future = item
            try:
                self._begin(slot, job).result()
                future.set_result(None)
            except BrokenProcessPool:
                with self._lock:
                    _kill(self._pools.pop(slot))
                future.set_exception(TrainingError("its process died", DIED))
            except Exception as error:
                future.set_exception(error)

    def _begin(self, slot: int, job: Job) -> Future[None]:
        """Hand ``job`` to the slot's worker, starting one if there is none: not while `close` looks for them."""
        with self._lock:
            if self._closed:
                raise TrainingError("the search was stopped")
            if slot not in self._pools:
                threads = max(1, available_cores() // self.slots)
                device = self._devices[slot % len(self._devices)]
                self._pools[slot] = ProcessPoolExecutor(
                    1, self._context, initializer=_start_worker, initargs=(threads, device, self._queue, os.getpid())
                )
            return self._pools[slot].submit(_perform_in_worker, job)


def _kill(pool: ProcessPoolExecutor) -> None:
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.kill()
    # Waits for the pool's own thread, which would otherwise close pipes while the interpreter writes to them at exit.
    pool.shutdown(wait=True, cancel_futures=True)


# --- in the worker process ---

_worker: dict[str, Any] = {}


def _start_worker(threads: int, device: str, events: ProcessQueue[Event], parent: int) -> None:
    import torch

    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(threads)
    _worker.update(device=device, events=events)


def _die_with(parent: int) -> None:
    """End this process when the driver is gone, so that a killed search leaves nothing running."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _perform_in_worker(job: Job) -> None:
    events = _worker["events"]
    events.put(Started(job.spec.digest))
    try:
        perform(job, _worker["device"], lambda digest, record: events.put(EpochEnded(digest, record)))
    except DeepReduceError:
        raise
    except Exception as error:  # of a type that the driver may not be able to unpickle
        raise TrainingError(f"{type(error).__name__}: {one_line(error)}") from None
