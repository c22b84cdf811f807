"""Options of the verbs that are a client, and the connection that they describe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..progress import Progress
from .credentials import client_tls, read_token
from .options import PreferOption, StoreKeyOption, file_option
from .units import parse_address, parse_bytes

if TYPE_CHECKING:
    from ..inference.client import Client

TRUST = "Trust and credentials"
LINK = "Protocol and link"

StoreOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Where prepared predictions are kept.", show_default="~/.local/share/deepreduce/client"
    ),
]
NoStoreOption = Annotated[bool, typer.Option("--no-store", help="Keep nothing on disk, use nothing from there.")]
MaxStoreOption = Annotated[
    str,
    typer.Option(
        "--max-store",
        metavar="SIZE",
        help="Maximum size of what is prepared: of the store, for all servers together; in memory with --no-store.",
    ),
]
TlsOption = Annotated[
    bool,
    typer.Option("--tls", help="Trust the system's authorities, on this machine, too.", rich_help_panel=TRUST),
]
TlsCaOption = Annotated[
    Path | None,
    file_option(
        "Trust this authority (PEM), and no other.",
        TRUST,
        default="the system's; on this machine: the development authority",
    ),
]
ServerNameOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Whose certificate the server must show.", show_default="HOST", rich_help_panel=TRUST
    ),
]
TlsCertOption = Annotated[Path | None, file_option("This client's certificate (PEM).", TRUST)]
TlsKeyOption = Annotated[Path | None, file_option("Its key (PEM).", TRUST)]
TokenFileOption = Annotated[Path | None, file_option("The token that the server asks for.", TRUST)]
PlanNameOption = Annotated[
    str,
    typer.Option(
        "--plan", metavar="NAME", help="Which of the server's plans (deepreduce plans).", show_default="the only one"
    ),
]
PinOption = Annotated[
    str | None,
    typer.Option(metavar="DIGEST", help="Accept this plan only.", show_default=False, rich_help_panel=TRUST),
]
InsecureOption = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Plain TCP, for a server with --insecure, too: for tests only.", rich_help_panel=TRUST
    ),
]
ProtocolOption = Annotated[
    Literal["auto", "ot", "delphi"],
    typer.Option(
        help="How ReLUs are computed: by tables of transfers (ot), by garbled circuits (delphi), or by what is "
        "prepared, else what takes least on the link, which is measured.",
        rich_help_panel=LINK,
    ),
]
BatchOption = Annotated[int, typer.Option(help="Images per prediction.", rich_help_panel=LINK)]
ThreadsOption = Annotated[int, typer.Option(help="Threads of this side.", rich_help_panel=LINK)]
TimeoutOption = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long the server may be silent.", rich_help_panel=LINK)
]
WaitOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", help="How long to wait for a server that is busy, or restarts.", rich_help_panel=LINK
    ),
]
ResizeOption = Annotated[bool, typer.Option("--resize", help="Stretch pictures to the size of the plan.")]


def token_of(path: Path | None) -> str | None:
    """Return the token in a file, and warn of one that others may read. Raises `SettingError`."""
    if path is None:
        return None
    token = read_token(path)
    if path.stat().st_mode & 0o077:
        typer.echo(f"warning: others on this machine may read {path}: chmod 600", err=True)
    return token


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """The options of a client as they were typed."""

    store: StoreOption
    store_key: StoreKeyOption
    no_store: NoStoreOption
    max_store_bytes: MaxStoreOption
    tls: TlsOption
    tls_ca: TlsCaOption
    server_name: ServerNameOption
    tls_cert: TlsCertOption
    tls_key: TlsKeyOption
    token_file: TokenFileOption
    plan_name: PlanNameOption
    pin: PinOption
    insecure: InsecureOption
    protocol: ProtocolOption
    prefer: PreferOption
    batch: BatchOption
    threads: ThreadsOption
    timeout: TimeoutOption
    wait: WaitOption

    @contextmanager
    def connected(self, server: str, report: Progress) -> Iterator[Client]:
        """Yield a client of HOST:PORT, which is waited for. Raises `SettingError`, `SessionError`, `StoreError`."""
        from ..inference import forbid_core_files
        from ..inference.client import Client, retry_while_busy
        from ..paths import client_store_folder

        host, port = parse_address(server, 1)
        most = parse_bytes(self.max_store_bytes, "--max-store")
        secured = client_tls(host, self.tls, self.tls_ca, self.tls_cert, self.tls_key, self.server_name, self.insecure)
        forbid_core_files()  # before the token is read
        token = token_of(self.token_file)

        def connect() -> Client:
            return Client(
                host,
                port,
                protocol=self.protocol,
                prefer=self.prefer,
                batch=self.batch,
                threads=self.threads,
                tls=secured.context,
                server_name=secured.server_name,
                insecure=secured.context is None,
                plan_name=self.plan_name,
                pin=self.pin,
                token=token,
                timeout_s=self.timeout,
                store=None if self.no_store else self.store or client_store_folder(),
                store_key=self.store_key,
                max_store_bytes=most,
                on_progress=report,
            )

        with retry_while_busy(connect, self.wait) as client:
            yield client
