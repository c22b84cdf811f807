"""``deepreduce serve``: a plan with its weights, for clients."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import typer

from ...errors import DeepReduceError
from ..credentials import PLAIN
from ..options import StoreKeyOption
from ..plan_folders import PlanFolders
from ..server_options import (
    GRACE_S,
    AuditOption,
    CertificateOption,
    ClientCaOption,
    GraceOption,
    IdleOption,
    InsecureOption,
    KeyOption,
    LinkOption,
    ListenOption,
    LogOption,
    MaxClientDiskOption,
    MaxDiskOption,
    MaxMemoryOption,
    MaxSessionsOption,
    MaxWeightsOption,
    MetricsOption,
    PlansArgument,
    ProcessesOption,
    QuotaOption,
    QuotasOption,
    RateOption,
    ServeOptions,
    ServeSettings,
    StateOption,
    StoreOption,
    ThreadsOption,
    TokenFileOption,
    TokensOption,
    WorkersOption,
)
from ..signals import at_hangup, until_signalled
from ..units import shown_address

if TYPE_CHECKING:
    from ...inference import Server
    from ...inference.server import Inherited

log_warnings = logging.getLogger("deepreduce.server")


def serve_command(
    plans: PlansArgument,
    listen: ListenOption = "127.0.0.1:7000",
    store: StoreOption = None,
    store_key: StoreKeyOption = None,
    tls_cert: CertificateOption = None,
    tls_key: KeyOption = None,
    tls_client_ca: ClientCaOption = None,
    tokens: TokensOption = None,
    token_file: TokenFileOption = None,
    insecure: InsecureOption = False,
    audit: AuditOption = None,
    quota: QuotaOption = None,
    quotas: QuotasOption = None,
    state: StateOption = None,
    metrics: MetricsOption = None,
    max_sessions: MaxSessionsOption = 64,
    max_memory: MaxMemoryOption = "8GB",
    max_disk: MaxDiskOption = "64GB",
    max_client_disk: MaxClientDiskOption = "4GB",
    max_weights: MaxWeightsOption = None,
    link: LinkOption = None,
    rate: RateOption = None,
    threads: ThreadsOption = 1,
    workers: WorkersOption = None,
    processes: ProcessesOption = 1,
    idle: IdleOption = 3600.0,
    grace: GraceOption = GRACE_S,
    log: LogOption = "text",
) -> None:
    """Serve a plan, or several by name. SIGTERM or Ctrl-C lets running predictions finish; a second one stops at once.

    TLS 1.3 by default: on 127.0.0.1 and ::1 with a certificate of a development CA in your configuration folder
    (made on first use), which predict on this machine trusts by itself; elsewhere give --tls-cert and --tls-key.
    SIGHUP reads the tokens, the quotas, the certificate and the plans again: sessions that are open finish with the
    plan that they have.
    """
    typed = {**locals(), "plans": tuple(plans), "quota": tuple(quota or ())}
    _serve(ServeOptions(**typed))


def _serve(options: ServeOptions) -> None:
    """Run one server process, or the supervisor of several, until a signal."""
    from ...inference import forbid_core_files
    from ...inference.server import Inherited

    forbid_core_files()  # before the token and the key are read
    settings = options.checked()
    _log_to_stderr(options.log)
    stop = until_signalled()
    folders = options.folders()
    inherited = Inherited.found()
    if options.processes != 1 and inherited is None:
        from .supervise import supervise

        return supervise(folders, settings, options.processes, options.grace, stop)
    with ExitStack() as stack:
        monitored = None if settings.metrics is None else _Monitored(stack, settings, inherited)
        server = _server(stack, folders, settings, inherited, monitored)
        if monitored is not None:
            monitored.follow(server)
        bound = server.listen(settings.host, settings.port) if inherited is None else server.adopt(inherited.listener)
        if inherited is not None:
            inherited.follow(stop)
        at_hangup(lambda: _reload(server, options, settings, folders))
        _say_notices(server, options, settings)
        server.start()
        _say_serving(server, settings, folders, bound)
        stop.wait()
        server.shutdown(options.grace)


def _server(
    stack: ExitStack,
    folders: PlanFolders,
    settings: ServeSettings,
    inherited: Inherited | None,
    monitored: _Monitored | None,
) -> Server:
    """Return the server of all plans, closed with the stack."""
    from ...inference import Server
    from ...inference.server.workers import ForkServersClient

    fork_servers = None
    if inherited is not None and inherited.orders is not None:
        fork_servers = ForkServersClient(socket.socket(fileno=inherited.orders))
    first, *others = folders.read_all().items()
    name, (plan, weights) = first
    server = Server(
        plan,
        weights,
        settings.share(inherited),
        name=name,
        fork_servers=fork_servers,
        store_lock=None if inherited is None else inherited.lock,
        observers=() if monitored is None else (monitored.metrics.observe,),
    )
    stack.enter_context(server)
    for name, (plan, weights) in others:
        server.load(name, plan, weights)
    return server


class _Monitored:
    """The operator's page, there before the server is. Each of several processes has one, on ports in turn."""

    def __init__(self, stack: ExitStack, settings: ServeSettings, inherited: Inherited | None) -> None:
        from ...inference.server import Metrics, MonitoringServer, emit

        assert settings.metrics is not None
        host, port = settings.metrics
        self.metrics = Metrics()
        self._server: Server | None = None
        number = 0 if inherited is None or not port else inherited.number
        page = MonitoringServer(host, port + number, self.metrics, self._not_ready)
        stack.callback(page.close)
        emit("serving", metrics=f"http://{shown_address(host, page.port)}/metrics")

    def follow(self, server: Server) -> None:
        self.metrics.follow(server.resources)
        self._server = server

    def _not_ready(self) -> str | None:
        return "the server is starting" if self._server is None else self._server.not_ready()


def _say_notices(server: Server, options: ServeOptions, settings: ServeSettings) -> None:
    from ...inference.access import is_loopback

    resources = server.resources
    for notice in () if resources.store is None else resources.store.notices:
        typer.echo(f"note: {notice}", err=True)
    if settings.files is None:
        log_warnings.warning("%s", PLAIN)
    if options.token_file is not None and options.token_file.stat().st_mode & 0o077:
        log_warnings.warning("others on this machine may read the token in %s: chmod 600", options.token_file)
    if resources.access.open_to_all and not is_loopback(settings.host):
        log_warnings.warning(
            "every client that can connect is served, and gets the plan: give --tokens or --tls-client-ca"
        )


def _say_serving(server: Server, settings: ServeSettings, folders: PlanFolders, bound: int) -> None:
    address = shown_address(settings.host, bound)
    store = settings.server.store
    for name, served in server.resources.plans.items():
        server.resources.emit(
            "serving",
            name=name or None,
            plan=served.digest,
            weights=served.weights_digest,
            address=address,
            store=None if store is None else str(store),
            tls="none" if settings.files is None else str(settings.files.certificate),
        )
        typer.echo(f"serving {folders.shown(name)} {served.digest} on {address}")
    sys.stdout.flush()


def _reload(server: Server, options: ServeOptions, settings: ServeSettings, folders: PlanFolders) -> None:
    """Read again what may have changed; what cannot be used stays as it was."""
    resources = server.resources
    steps: list[Callable[[], object]] = [
        resources.access.refresh,
        lambda: resources.access.replace_quotas(options.read_quotas()),
    ]
    if (files := settings.files) is not None and (tls := settings.server.tls) is not None:
        steps.append(lambda: files.reload(tls))
    failed = False
    for step in steps:  # each by itself: wrong quotas must not keep out a renewed certificate
        try:
            step()
        except DeepReduceError as error:
            failed = True
            resources.emit("configured", result="failed", text=str(error))
    if not failed:
        resources.emit("configured", result="read again")
    for name in folders.paths:
        try:
            loaded = server.load(name, *folders.read(name))
        except (DeepReduceError, OSError, MemoryError) as error:
            text = str(error) or type(error).__name__
            resources.emit(
                "failed", reason="reload", name=name or None, text=f"{text}; the plan before stays in service"
            )
            continue
        if loaded:
            served = resources.plans[name]
            digests = {"plan": served.digest, "weights": served.weights_digest}
            resources.emit("configured", result="loaded", name=name or None, **digests)


def _log_to_stderr(style: str) -> None:
    from ...inference.server import JsonLines

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if style == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("deepreduce")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
