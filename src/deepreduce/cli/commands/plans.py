"""``deepreduce plans``: what a server offers to those whom it lets in."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from ...units import show_bytes
from ..client_options import (
    InsecureOption,
    ServerNameOption,
    TimeoutOption,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TlsOption,
    TokenFileOption,
    token_of,
)
from ..credentials import client_tls
from ..options import JsonOption
from ..output.console import result_console
from ..units import parse_address

if TYPE_CHECKING:
    from ...inference.transport import PlanOffer


def plans_command(
    server: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where they are served.", show_default=False)],
    tls: TlsOption = False,
    tls_ca: TlsCaOption = None,
    server_name: ServerNameOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    token_file: TokenFileOption = None,
    insecure: InsecureOption = False,
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """List the plans of the server at HOST:PORT, for predict --plan and --pin (whole digests: --json)."""
    host, port = parse_address(server, 1)
    secured = client_tls(host, tls, tls_ca, tls_cert, tls_key, server_name, insecure)
    from ...inference import forbid_core_files, list_plans

    forbid_core_files()  # before the token is read
    token = token_of(token_file)
    offers = list_plans(
        host,
        port,
        tls=secured.context,
        server_name=secured.server_name,
        insecure=insecure,
        token=token,
        timeout_s=timeout,
    )
    if as_json:
        typer.echo(json.dumps([asdict(offer) for offer in offers]))
    else:
        console = result_console()
        console.print(_table(offers))
        console.print("ot, delphi: bytes of one image by that protocol, offline and online together.", soft_wrap=True)


def _table(offers: list[PlanOffer]) -> Table:
    table = Table("plan", Column("digest", min_width=12), "input", "classes", "ReLUs", "ot", "delphi")
    for offer in offers:
        sizes = [show_bytes(sum(offer.bytes[name])) if name in offer.bytes else "-" for name in ("ot", "delphi")]
        shape = "x".join(map(str, offer.input_shape))
        name = escape(offer.name) or "(no name)"
        table.add_row(name, offer.digest[:12], shape, f"{offer.classes:,}", f"{offer.relus:,}", *sizes)
    return table
