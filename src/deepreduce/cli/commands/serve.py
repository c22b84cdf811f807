"""``deepreduce serve``: a plan with its weights, for clients."""

from __future__ import annotations

import logging
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...errors import DeepReduceError, PlanError, SettingError
from ..credentials import PLAIN, ServerFiles, read_token, server_files
from ..options import StoreKeyOption
from ..quotas import read_quotas
from ..signals import at_hangup, until_signalled
from ..units import is_loopback, parse_address, parse_bytes, shown_address

if TYPE_CHECKING:
    from ssl import SSLContext

    from ...inference.server.server import Server
    from ...inference.server.supervisor import Inherited
    from ...plan import Plan

warnings = logging.getLogger("deepreduce.server")
GRACE_S = 30.0
ACCESS, LIMITS = "Who gets in", "Limits"


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
    store_key: StoreKeyOption = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Certificate (PEM).",
            show_default="on this machine: a development authority's",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its key (PEM).", show_default=False, rich_help_panel=ACCESS),
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Clients must show a certificate of this authority; its name is their identity.",
            show_default=False,
            rich_help_panel=ACCESS,
        ),
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Clients must show a token of this file (deepreduce token); its name is their identity.",
            show_default=False,
            rich_help_panel=ACCESS,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Clients must know this text: one for all, who are one identity, anonymous.",
            show_default=False,
            rich_help_panel=ACCESS,
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Plain TCP without TLS: for tests only.", rich_help_panel=ACCESS),
    ] = False,
    audit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Append who did what to this log of chained lines (deepreduce audit verify).",
            show_default=False,
            rich_help_panel=ACCESS,
        ),
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="What each identity may use: predictions=1000/24h, total=N, prepared=N (images), ready=N, "
            "ready-bytes=SIZE (material), connections=N. Repeat for more.",
            show_default="no limit",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    quotas: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The same in TOML, with values for single identities.",
            show_default=False,
            rich_help_panel=LIMITS,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where use is counted; several servers of one machine may share it.",
            show_default="in the store",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Counters for Prometheus.", show_default=False)
    ] = None,
    max_sessions: Annotated[int, typer.Option(help="Clients at a time.", rich_help_panel=LIMITS)] = 64,
    max_memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Of prepared material in memory.", rich_help_panel=LIMITS)
    ] = "8GB",
    max_disk: Annotated[
        str, typer.Option(metavar="SIZE", help="Of prepared material in the store.", rich_help_panel=LIMITS)
    ] = "64GB",
    max_client_disk: Annotated[
        str, typer.Option(metavar="SIZE", help="Of one client's.", rich_help_panel=LIMITS)
    ] = "4GB",
    rate: Annotated[
        float | None,
        typer.Option(
            help="New sessions and preparations of one address, per minute.",
            show_default="no limit",
            rich_help_panel=LIMITS,
        ),
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
    idle: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long a client may be quiet.", rich_help_panel=LIMITS)
    ] = 3600.0,
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", help="For running predictions, when the server is stopped.")
    ] = GRACE_S,
    log: Annotated[
        Literal["text", "json"], typer.Option(help="How events are written to the standard error.")
    ] = "text",
) -> None:
    """Serve PLAN until SIGTERM or an interrupt: then running predictions finish; a second signal ends at once.

    TLS 1.3 by default: on 127.0.0.1 and ::1 with a certificate of a development authority in your configuration folder
    (made on first use), which predict on this machine trusts by itself; elsewhere give --tls-cert and --tls-key.
    SIGHUP reads the tokens, the quotas and the certificate again.
    """
    host, port = parse_address(listen)
    files = server_files(host, tls_cert, tls_key, tls_client_ca, insecure)
    allowed = read_quotas(quota, quotas)
    if processes != 1 and store is None and state is None and allowed.holds:
        raise SettingError(
            "what identities hold in several processes is counted in a folder, and there is none",
            "give --state DIR, or --store DIR",
        )
    watched = None if metrics is None else parse_address(metrics)
    memory, disk = parse_bytes(max_memory, "--max-memory"), parse_bytes(max_disk, "--max-disk")
    client_disk = parse_bytes(max_client_disk, "--max-client-disk")
    _log_to_stderr(log)
    stop = until_signalled()
    from ...inference.core_dumps import forbid_core_files
    from ...inference.server.server import Server

    forbid_core_files()
    read, weights, folder = _read_plan(plan)
    from ...inference.server.supervisor import Inherited

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
    tls = None if files is None else files.context()
    token = None if token_file is None else read_token(token_file)
    with ExitStack() as stack:
        counters = None
        if watched is not None:
            from ...inference.server.metrics import Metrics

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
                tokens=tokens,
                quotas=allowed,
                state=state,
                audit=audit,
                idle_s=idle,
                store=store,
                store_key=store_key,
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
        at_hangup(lambda: _reload(server, quota, quotas, files, tls))
        for notice in () if server.store is None else server.store.notices:
            typer.echo(f"note: {notice}", err=True)
        if files is None:
            warnings.warning("%s", PLAIN)
        if token_file is not None and token_file.stat().st_mode & 0o077:
            warnings.warning("others on this machine may read the token in %s: chmod 600", token_file)
        if server.access.open_to_all and not is_loopback(host):
            warnings.warning("whoever can connect may ask, and gets the plan: --tokens or --tls-client-ca say who may")
        server.start()
        address = shown_address(host, bound)
        secured = "none" if files is None else str(files.certificate)
        kept = None if store is None else str(store)
        server.emit("serving", plan=server.plan_digest, address=address, store=kept, tls=secured)
        typer.echo(f"serving {folder} {server.plan_digest} on {address}")
        sys.stdout.flush()
        stop.wait()
        server.shutdown(grace)


def _reload(
    server: Server, quota: list[str] | None, quotas: Path | None, files: ServerFiles | None, tls: SSLContext | None
) -> None:
    """Reads again what may have changed; what cannot be used stays as it was."""
    try:
        server.access.refresh()
        server.access.replace_quotas(read_quotas(quota, quotas))
        if files is not None and tls is not None:
            files.reload(tls)
        server.emit("configured", result="read again")
    except DeepReduceError as error:
        server.emit("configured", result="failed", text=str(error))


def _part(workers: int, sessions: int, memory: int, inherited: Inherited | None) -> dict[str, Any]:
    """What one of several processes gets of what all may have."""
    if inherited is None:
        return {"workers": workers, "max_sessions": sessions, "max_prepared_bytes": memory}
    from ...inference.server.workers.fork_server import Ordered

    count = inherited.processes
    return {
        "workers": -(-workers // count),
        "nursery": None if inherited.orders is None else Ordered(socket.socket(fileno=inherited.orders)),
        "max_sessions": -(-sessions // count),
        "max_prepared_bytes": max(1, memory // count),
        "store_lock": inherited.lock,
    }


def _read_plan(path: Path) -> tuple[Plan, dict[str, Any], Path]:
    from ...plan import read_plan, read_weights

    folder = path.parent if path.name == "plan.json" else path
    if not folder.is_dir():
        raise PlanError(f"{path} is no folder with a plan", "make one with deepreduce export")
    plan = read_plan(folder / "plan.json")
    return plan, read_weights(folder / "weights.safetensors", plan), folder


def _log_to_stderr(style: str) -> None:
    from ...inference.server.events import JsonLines

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if style == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("deepreduce")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
