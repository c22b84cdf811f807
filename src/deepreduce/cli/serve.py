"""``deepreduce serve``: a plan with its weights, for clients."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import PlanError, SettingError
from .address import is_loopback, parse_address, parse_bytes, shown_address

if TYPE_CHECKING:
    from ..plan import Plan
    from ..private.supervisor import Inherited

GRACE_S = 30.0


def serve_command(
    plan: Annotated[
        Path,
        typer.Argument(
            metavar="PLAN",
            help="A folder with plan.json and weights.safetensors, or its plan.json.",
            show_default=False,
        ),
    ],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen: 127.0.0.1:7000, [::1]:7000; port 0: any.")
    ] = "127.0.0.1:7000",
    store: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep what clients prepare, through restarts.", show_default="in memory only"),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate (PEM).", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key (PEM).", show_default=False)] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Clients must show a certificate of this authority.", show_default=False),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen without TLS where others can connect: for tests only.")
    ] = False,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Clients must know this text.", show_default=False)
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Counters for Prometheus.", show_default=False)
    ] = None,
    max_sessions: Annotated[int, typer.Option(help="Clients at a time.")] = 64,
    max_memory: Annotated[str, typer.Option(metavar="SIZE", help="Of prepared material in memory.")] = "8GB",
    max_disk: Annotated[str, typer.Option(metavar="SIZE", help="Of prepared material in the store.")] = "64GB",
    max_client_disk: Annotated[str, typer.Option(metavar="SIZE", help="Of one client's.")] = "4GB",
    rate: Annotated[
        float | None,
        typer.Option(help="New sessions and preparations of one address, per minute.", show_default="no limit"),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each session.")] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Preparations that compute at once, in processes of their own; 0: within the server.",
            show_default="cores - 1",
        ),
    ] = None,
    processes: Annotated[int, typer.Option(help="Server processes that share the port, the limits and the store.")] = 1,
    idle: Annotated[float, typer.Option(metavar="SECONDS", help="How long a client may be quiet.")] = 3600.0,
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", help="For running predictions, when the server is stopped.")
    ] = GRACE_S,
    log: Annotated[
        Literal["text", "json"], typer.Option(help="How events are written to the standard error.")
    ] = "text",
) -> None:
    """Serve PLAN until SIGTERM or an interrupt: then running predictions finish; a second signal ends at once."""
    host, port = parse_address(listen)
    if tls_cert is None and not is_loopback(host) and not insecure:
        raise SettingError(
            f"{host} can be reached by others, and without TLS they can read the token and the plan, and be the server",
            "give --tls-cert and --tls-key, or --insecure for a test",
        )
    if (tls_cert is None) != (tls_key is None) or (tls_client_ca is not None and tls_cert is None):
        raise SettingError("a certificate without its key, or the other way round", "give --tls-cert and --tls-key")
    watched = None if metrics is None else parse_address(metrics)
    memory, disk = parse_bytes(max_memory, "--max-memory"), parse_bytes(max_disk, "--max-disk")
    client_disk = parse_bytes(max_client_disk, "--max-client-disk")
    _log_to_stderr(log)
    stop = _until_signalled()
    from ..private.server import Server
    from ..private.streams import server_context

    read, weights, folder = _read_plan(plan)
    from ..private.supervisor import Inherited

    inherited = Inherited.found()
    workers = max(1, (os.cpu_count() or 1) - 1) if workers is None else workers
    if processes != 1 and inherited is None:
        from .supervise import supervise

        return supervise(
            read,
            weights,
            (host, port),
            processes=processes,
            workers=workers,
            threads=threads,
            store=store,
            grace=grace,
            stop=stop,
        )
    tls = None if tls_cert is None or tls_key is None else server_context(tls_cert, tls_key, tls_client_ca)
    token = None if token_file is None else read_token(token_file)
    with ExitStack() as stack:
        counters = None
        if watched is not None:
            from ..private.metrics import Metrics

            counters = Metrics()
            stack.callback(counters.close)
        server = stack.enter_context(
            Server(
                read,
                weights,
                threads=threads,
                **_part(workers, max_sessions, memory, inherited),
                tls=tls,
                token=token,
                idle_s=idle,
                store=store,
                rate=rate,
                observers=() if counters is None else (counters.observe,),
                max_stored_bytes=disk,
                max_client_bytes=client_disk,
            )
        )
        del weights
        if counters is not None and watched is not None:
            counters.follow(server.ready, server.stored_bytes)
            # Of several processes each has a page, on ports in turn.
            number = 0 if inherited is None or not watched[1] else inherited.number
            shown = shown_address(watched[0], counters.listen(watched[0], watched[1] + number))
            server.emit("serving", metrics=f"http://{shown}/metrics")
        bound = server.listen(host, port) if inherited is None else server.adopt(inherited.listener)
        if inherited is not None:
            inherited.follow(stop)
        for notice in () if server.store is None else server.store.notices:
            typer.echo(f"note: {notice}", err=True)
        server.start()
        address = shown_address(host, bound)
        server.emit("serving", plan=server.plan_digest, address=address, store=None if store is None else str(store))
        typer.echo(f"serving {folder} {server.plan_digest} on {address}")
        sys.stdout.flush()
        stop.wait()
        server.shutdown(grace)


def _part(workers: int, sessions: int, memory: int, inherited: Inherited | None) -> dict[str, Any]:
    """What one of several processes gets of what all may have."""
    if inherited is None:
        return {"workers": workers, "max_sessions": sessions, "max_prepared_bytes": memory}
    from ..private.nursery import Ordered

    count = inherited.processes
    return {
        "workers": -(-workers // count),
        "nursery": None if inherited.orders is None else Ordered(socket.socket(fileno=inherited.orders)),
        "max_sessions": -(-sessions // count),
        "max_prepared_bytes": max(1, memory // count),
        "store_lock": inherited.lock,
    }


def read_token(path: Path) -> str:
    """The first line of a file. Raises `SettingError`."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SettingError(f"the token file {path} cannot be read: {reason}", "check the path") from None
    if not lines or not lines[0].strip():
        raise SettingError(f"the token file {path} is empty", "write the token into its first line")
    return lines[0].strip()


def _read_plan(path: Path) -> tuple[Plan, dict[str, Any], Path]:
    from ..plan import read_plan, read_weights

    folder = path.parent if path.name == "plan.json" else path
    if not folder.is_dir():
        raise PlanError(f"{path} is no folder with a plan", "make one with deepreduce export")
    plan = read_plan(folder / "plan.json")
    return plan, read_weights(folder / "weights.safetensors", plan), folder


def _log_to_stderr(style: str) -> None:
    from ..private.events import JsonLines

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if style == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("deepreduce")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _until_signalled() -> threading.Event:
    """Set by the first SIGTERM or SIGINT; the second ends the process."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop
