"""Client and server as processes of their own that report through pipes: what a benchmark on one machine needs."""

from __future__ import annotations

import contextlib
import re
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import DeepReduceError, SessionError, one_line
from ..inference.client.client import Client, Mode
from ..inference.server.server import Server
from ..inference.server.settings import ServerSettings
from ..inference.subprocess_call import END_S, Child
from ..inference.transport.meter import Phase, Run
from ..inference.transport.streams import client_context, server_context
from ..plan import read_plan, read_weights
from ..plan.execution.messages import Protocol
from ..progress import Progress

PLAN_FILE, WEIGHTS_FILE = "plan.json", "weights.safetensors"
AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE = "authority.pem", "server.pem", "server.key"  # of the development CA
REPORT_S = 0.1  # at least, between two reports of progress


@dataclass(frozen=True, slots=True)
class ServerStart:
    """Start message of a server process. ``cpu_path``: the kernels to use, as the parent does."""

    plan: Path
    weights: Path
    link_rate: int
    weight_bytes: int
    threads: int
    timeout_s: float
    cpu_path: str
    tls: Path | None  # a folder with certificate and key


@dataclass(frozen=True, slots=True)
class ClientStart:
    """Start message of a client process; ``images``: integers [inferences, batch, C, H, W]."""

    port: int
    protocol: Protocol
    threads: int
    mode: Mode
    pin: str
    timeout_s: float
    cpu_path: str
    tls: Path | None
    images: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ServerReport:
    """Measurements of a server process."""

    setup_s: float
    runs: list[Run]
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True)
class ClientReport:
    """Measurements of a client process; ``answers``: integers [inferences, batch, ...]."""

    setup: Phase
    runs: list[Run]
    answers: NDArray[np.int64]
    peak_rss_bytes: int


class Party:
    """A process that runs ``main(pipe, start)``; a context manager that ends it."""

    def __init__(self, name: str, main: Callable[[Connection, Any], Any], start: Any) -> None:
        self._name = name
        self._child = Child(_run, main, start)
        self._pipe = self._child.pipe

    def send(self, message: object) -> None:
        """Hand it a message."""
        self._pipe.send(message)

    def receive(self, on_progress: Progress, *others: Party) -> Any:
        """Return its next result; progress is passed on. An error of its, or the death of an ``other``, is
        raised here.
        """
        while True:
            ready = wait([self._pipe, *(other._pipe for other in others)])
            for party in (self, *others):  # its own message first: the other may have ended because of it
                if party._pipe not in ready:
                    continue
                try:
                    kind, *content = party._pipe.recv()
                except EOFError:
                    code = party._child.exit_code()
                    raise SessionError(
                        f"the {party._name} process ended with code {code}", "is there enough memory?"
                    ) from None
                if kind == "error":
                    raise SessionError(f"{party._name}: {content[0]}", content[1])
                if kind == "progress":
                    on_progress(content[0], content[1], content[2])
                elif party is self:
                    return content[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.__exit__(kind, error, trace)


def run_server(pipe: Connection, start: ServerStart) -> ServerReport:
    """Tells its port when it is ready; once told a number of runs, waits for them and reports."""
    _core.select_cpu_path(start.cpu_path)
    runs: list[Run] = []
    arrived = threading.Condition()

    def on_run(run: Run) -> None:
        with arrived:
            runs.append(run)
            arrived.notify()

    plan = read_plan(start.plan)
    tls = None if start.tls is None else server_context(start.tls / CERTIFICATE_FILE, start.tls / KEY_FILE)
    weights = read_weights(start.weights, plan)
    plan = replace(plan, link_rate=start.link_rate)
    with Server(
        plan,
        weights,
        ServerSettings(
            threads=start.threads,
            tls=tls,
            insecure=tls is None,
            timeout_s=start.timeout_s,
            max_prepared_bytes=1 << 40,
            max_weight_bytes=start.weight_bytes,
        ),
        on_run=on_run,
    ) as server:
        pipe.send(("result", server.listen()))
        server.start()
        expected = pipe.recv()
        with arrived:
            arrived.wait_for(lambda: len(runs) >= expected, END_S)
        return ServerReport(server.resources.plans[""].setup_s, runs, peak_rss_bytes())


def run_client(pipe: Connection, start: ClientStart) -> ClientReport:
    """Connects, then prepares and predicts image after image."""
    _core.select_cpu_path(start.cpu_path)
    tls = None if start.tls is None else client_context(start.tls / AUTHORITY_FILE)
    with Client(
        "127.0.0.1",
        start.port,
        protocol=start.protocol,
        batch=start.images.shape[1],
        threads=start.threads,
        tls=tls,
        insecure=tls is None,
        pin=start.pin,
        mode=start.mode,
        timeout_s=start.timeout_s,
        on_progress=_throttled(pipe),
    ) as client:
        answers = []
        for index, images in enumerate(start.images):
            pipe.send(("progress", "inference", index, len(start.images)))
            if start.mode == "prepared":
                client.prepare(1)
            answers.append(client.predict_integers(images))
        return ClientReport(client.setup, list(client.runs), np.stack(answers), peak_rss_bytes())


def peak_rss_bytes() -> int:
    """Return the most memory that this process has held resident."""
    try:
        # Not getrusage where it can be helped: on Linux that maximum is inherited from the starting process.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _run(pipe: Connection, main: Callable[[Connection, Any], Any], start: Any) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the parent is no more
        _report(pipe, main, start)


def _report(pipe: Connection, main: Callable[[Connection, Any], Any], start: Any) -> None:
    try:
        pipe.send(("result", main(pipe, start)))
    except DeepReduceError as error:
        pipe.send(("error", error.message, error.hint))
    except Exception as error:
        pipe.send(("error", f"{type(error).__name__}: {one_line(error)}", "please report it"))
    finally:
        pipe.close()


def _throttled(pipe: Connection) -> Progress:
    last = 0.0

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= REPORT_S:
            last = now
            pipe.send(("progress", what, done, total))

    return report
