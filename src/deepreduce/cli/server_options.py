"""Options of ``deepreduce serve``, and the checked settings made of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import SettingError
from .credentials import ServerFiles, read_token, server_files
from .options import file_option
from .plan_folders import PlanFolders, plan_folders
from .quotas import read_quotas
from .units import parse_address, parse_bytes

if TYPE_CHECKING:
    from ..inference import Quotas, ServerSettings
    from ..inference.server import Inherited

ACCESS, LIMITS = "Access", "Limits"
GRACE_S = 30.0  # less than a service manager waits before it kills (packaging/)
Log = Literal["text", "json"]

PlansArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]PLAN...",
        help="A folder with plan.json and weights.safetensors, or its plan.json; several with a name for each.",
        show_default=False,
    ),
]
ListenOption = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Where to listen: 127.0.0.1:7000, [::1]:7000; port 0: any.")
]
StoreOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep what clients prepare, through restarts.", show_default="in memory only"),
]
CertificateOption = Annotated[
    Path | None,
    file_option("Certificate (PEM).", ACCESS, "--tls-cert", default="on this machine: the development CA's"),
]
KeyOption = Annotated[
    Path | None,
    file_option("Its key (PEM).", ACCESS, "--tls-key"),
]
ClientCaOption = Annotated[
    Path | None,
    file_option(
        "Clients must show a certificate of this CA; the name in it is their identity.", ACCESS, "--tls-client-ca"
    ),
]
TokensOption = Annotated[
    Path | None,
    file_option("Clients must show a token of this file (deepreduce token); its name is their identity.", ACCESS),
]
TokenFileOption = Annotated[
    Path | None,
    file_option("Clients must show the token in this file: one for all, who share the identity anonymous.", ACCESS),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Plain TCP without TLS: for tests only.", rich_help_panel=ACCESS)
]
AuditOption = Annotated[
    Path | None,
    file_option("Append who did what to this hash-chained log (deepreduce audit verify).", ACCESS),
]
QuotaOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="What each identity may use: predictions=1000/24h, total=N, prepared=N (images), ready=N, "
        "ready-bytes=SIZE (material), connections=N. Repeat for more.",
        show_default="no limit",
        rich_help_panel=LIMITS,
    ),
]
QuotasOption = Annotated[
    Path | None,
    file_option("The same in TOML, with values for single identities.", LIMITS),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where use is counted; several servers of one machine may share it.",
        show_default="in the store",
        rich_help_panel=LIMITS,
    ),
]
MetricsOption = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Serve counters for Prometheus here.", show_default=False)
]
MaxSessionsOption = Annotated[int, typer.Option(help="Maximum number of clients at once.", rich_help_panel=LIMITS)]
MaxMemoryOption = Annotated[
    str, typer.Option(metavar="SIZE", help="Maximum memory for prepared material.", rich_help_panel=LIMITS)
]
MaxDiskOption = Annotated[str, typer.Option(metavar="SIZE", help="Maximum size of the store.", rich_help_panel=LIMITS)]
MaxClientDiskOption = Annotated[
    str, typer.Option(metavar="SIZE", help="Maximum size of one client's part of the store.", rich_help_panel=LIMITS)
]
LinkOption = Annotated[
    str | None,
    typer.Option(
        metavar="lan|wan|RATE,RTT",
        help="Lay ciphertexts out for clients on this link (200Mbit,20ms): slower ones get fewer bytes.",
        show_default="as exported",
        rich_help_panel=LIMITS,
    ),
]
MaxWeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Maximum memory for transformed weights; others are transformed for every preparation.",
        show_default="half of what is free",
        rich_help_panel=LIMITS,
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        help="New sessions and preparations of one address, per minute.",
        show_default="no limit",
        rich_help_panel=LIMITS,
    ),
]
ThreadsOption = Annotated[int, typer.Option(help="Threads of each session.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        help="Preparations computed at once, in processes of their own; 0: within the server.",
        show_default="cores - 1",
    ),
]
ProcessesOption = Annotated[int, typer.Option(help="Server processes that share the port, the limits and the store.")]
IdleOption = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long a client may be idle.", rich_help_panel=LIMITS)
]
GraceOption = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long running predictions may finish after SIGTERM.")
]
LogOption = Annotated[Log, typer.Option(help="How events are written to the standard error.")]


@dataclass(frozen=True)
class ServeOptions:
    """The options as they were typed. `checked` reads and checks those that are text."""

    plans: tuple[str, ...]
    listen: str
    store: Path | None
    store_key: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    tokens: Path | None
    token_file: Path | None
    insecure: bool
    audit: Path | None
    quota: tuple[str, ...]
    quotas: Path | None
    state: Path | None
    metrics: str | None
    max_sessions: int
    max_memory: str
    max_disk: str
    max_client_disk: str
    max_weights: str | None
    link: str | None
    rate: float | None
    threads: int
    workers: int | None
    processes: int
    idle: float
    grace: float
    log: Log

    def checked(self) -> ServeSettings:
        """Return what the options mean. Raises `SettingError` for one that cannot be read or does not fit another."""
        from ..inference import ServerSettings

        host, port = parse_address(self.listen)
        files = server_files(host, self.tls_cert, self.tls_key, self.tls_client_ca, self.insecure)
        quotas = self.read_quotas()
        if self.processes < 1:
            raise SettingError(f"--processes is {self.processes}", "give a number from 1 on")
        if self.processes != 1 and self.store is None and self.state is None and quotas.holds:
            raise SettingError(
                "what identities hold in several processes is counted in a folder, and there is none",
                "give --state DIR, or --store DIR",
            )
        server = ServerSettings(
            threads=self.threads,
            workers=max(1, (os.cpu_count() or 1) - 1) if self.workers is None else self.workers,
            tls=None if files is None else files.context(),
            insecure=files is None,
            token=None if self.token_file is None else read_token(self.token_file),
            tokens=self.tokens,
            quotas=quotas,
            state=self.state,
            audit=self.audit,
            idle_s=self.idle,
            rate=self.rate,
            store=self.store,
            store_key=self.store_key,
            max_sessions=self.max_sessions,
            max_prepared_bytes=parse_bytes(self.max_memory, "--max-memory"),
            max_stored_bytes=parse_bytes(self.max_disk, "--max-disk"),
            max_client_bytes=parse_bytes(self.max_client_disk, "--max-client-disk"),
            max_weight_bytes=-1 if self.max_weights is None else parse_bytes(self.max_weights, "--max-weights", 0),
        )
        metrics = None if self.metrics is None else parse_address(self.metrics)
        return ServeSettings(server, host, port, files, metrics)

    def folders(self) -> PlanFolders:
        """Return the folders of the plans, by their names. Raises `SettingError`."""
        return plan_folders(self.plans, self.link)

    def read_quotas(self) -> Quotas:
        """Return the quotas of ``--quota`` and the file of ``--quotas`` as it is now. Raises `SettingError`."""
        return read_quotas(list(self.quota) or None, self.quotas)


@dataclass(frozen=True)
class ServeSettings:
    """A server's settings, where it listens, its certificate files (None: plain TCP) and where its counters are."""

    server: ServerSettings
    host: str
    port: int
    files: ServerFiles | None
    metrics: tuple[str, int] | None

    def share(self, inherited: Inherited | None) -> ServerSettings:
        """Return what one of several processes gets of what all may have together."""
        if inherited is None:
            return self.server
        count = inherited.processes
        return replace(
            self.server,
            max_weight_bytes=self.server.weight_bytes // count,  # without workers each process has its own
            workers=-(-self.server.workers // count),
            max_sessions=-(-self.server.max_sessions // count),
            max_prepared_bytes=max(1, self.server.max_prepared_bytes // count),
        )
