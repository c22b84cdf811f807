"""``deepreduce token``, ``usage``, ``audit`` and ``certificates``: who may ask a server, and what they did."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.markup import escape
from rich.table import Column, Table

from ...errors import SettingError, StoreError
from ...units import show_bytes, show_duration
from ..options import JsonOption
from ..output.console import result_console

if TYPE_CHECKING:
    from ...inference.access import QuotaUse, Usage


def token_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose token: letters, digits and . _ @ + -")],
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="The server's --tokens; made as needed.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace NAME's token; the old one stops working.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Revoke NAME's token.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the token there (mode 0600), for --token-file.", show_default=False),
    ] = None,
) -> None:
    """Make a token for NAME, print it once, and put its hash into FILE (mode 0600).

    A running server reads FILE again by itself. Give the token to its owner, who calls predict with --token-file.
    """
    from ...inference.access import add_token, remove_token

    if replace and remove:
        raise SettingError("--replace and --remove together", "give one of them")
    if out is not None and remove:
        raise SettingError("with --remove there is no token to write", "omit --out")
    if remove:
        remove_token(file, name)
        typer.echo(f"{file}: no token for {name} any more; sessions that are open go on", err=True)
        return
    with nullcontext() if out is None else _new_file(out) as written:
        token = add_token(file, name, replace)
        if written is not None:
            written.write(f"{token}\n")
    if out is None:
        typer.echo(token)
    shown = "shown this once" if out is None else f"in {out}, for its owner"
    typer.echo(f"{file}: the hash of a token for {name}; the token itself is {shown}", err=True)


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """Yield a file for its owner alone, gone after an error: it is there before what must not be lost is made."""
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w")
    except FileExistsError:
        raise SettingError(f"{path} exists", "name a new file, or delete it first") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}", "choose another file") from None
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def usage_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A server's --state, or its --store.", show_default=False)
    ],
    as_json: JsonOption = False,
) -> None:
    """Show the images that each identity has prepared and predicted, by plan and weights, and what its quotas leave."""
    from ...inference.access import LEDGER_FILE, UsageLedger, quota_usage
    from ...inference.store import store_held

    place = folder / "state" if (folder / "state").is_dir() else folder
    if not (place / LEDGER_FILE).is_file():
        raise StoreError(f"nothing was counted in {folder}", "give the folder of serve --state or --store")
    ledger = UsageLedger(place)
    try:
        usage, quotas = ledger.usage(), quota_usage(ledger, lambda identity: store_held(folder, identity))
    finally:
        ledger.close()
    if as_json:
        counted = [{**asdict(one), "leakage_log2": one.leakage_log2} for one in usage]
        typer.echo(json.dumps({"usage": counted, "quotas": [{**asdict(one), "left": one.left} for one in quotas]}))
        return
    console = result_console()
    console.print(_usage_table(usage))
    console.print(
        "Leakage bound: all answers that an identity was sent differ from answers that say nothing about the weights "
        "by a statistical distance of at most 2 to this power (SECURITY.md, Parameters).",
        soft_wrap=True,
    )
    if quotas:
        console.print(_quota_table(quotas))
        if place == folder and any(one.quota.startswith("ready") for one in quotas):
            console.print("Batches in a store are not counted here: give the folder of serve --store.", soft_wrap=True)


def _usage_table(usage: list[Usage]) -> Table:
    digests = (Column("plan", min_width=12), Column("weights", min_width=12))
    table = Table("identity", *digests, "images prepared", "predicted", "leakage bound (log2)")
    for one in usage:
        table.add_row(
            escape(one.identity),
            "-" if one.plan is None else one.plan[:12],
            "-" if one.weights is None else one.weights[:12],
            f"{one.prepared:,}",
            f"{one.predicted:,}",
            "-" if one.leakage_log2 is None else f"{one.leakage_log2:.1f}",
        )
    return table


def _quota_table(quotas: list[QuotaUse]) -> Table:
    table = Table("identity", "quota", "left", "of", "free again")
    for one in quotas:
        name = one.quota if one.window_s is None else f"{one.quota} in {show_duration(one.window_s)}"
        again = "-"
        if one.next_s is not None and one.reset_s is not None:
            some, all_ = show_duration(one.next_s), show_duration(one.reset_s)
            again = f"in {all_}" if some == all_ else f"some in {some}, all in {all_}"
        shown = show_bytes if one.quota == "ready_bytes" else "{:,}".format
        table.add_row(escape(one.identity), name, shown(one.left), shown(one.limit), again)
    return table


audit_app = typer.Typer(help="Check a server's audit log (serve --audit).", no_args_is_help=True)


@audit_app.callback()
def _verbs() -> None:
    """Check a server's audit log (serve --audit)."""


@audit_app.command("verify")
def verify_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="The log; with those that were rotated away, oldest first.", show_default=False
        ),
    ],
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="HASH", help="A head noted earlier: it must be the hash of some line.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify that every line holds the hash of the line before it. Exit code 1: one does not.

    The head, the hash of the last line, vouches for all lines before it. Keep it where the server cannot write: a chain
    alone does not show that its end was cut off, or that the whole log was replaced.
    """
    from ...inference.access import FIRST_DIGEST, verify_audit_log

    found = verify_audit_log(files, expect)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    typer.echo(f"{found.lines} lines, each follows the one before; head {found.head}")
    if found.first != FIRST_DIGEST:
        typer.echo(f"note: it goes on from a file whose last line has the hash {found.first}")
    if found.passed_over:
        typer.echo(f"note: {found.passed_over} damaged pieces were skipped; the log notes each (a crash, a full disk)")
    if found.torn:
        typer.echo(f"note: the last {found.torn} bytes are an incomplete line: being written, or cut off by a crash")
    if not found.stopped:
        typer.echo("note: the log does not end with a server stop: still running, crashed, or truncated")


def certificates_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where they are; made as needed.", show_default=False)],
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A server's name or address, without port. Repeat for more.", show_default=False
        ),
    ] = None,
    client: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A client's identity. Repeat for each.", show_default=False),
    ] = None,
) -> None:
    """Make certificates for DEVELOPMENT: an authority, one server certificate for all hosts, one for each client.

    Run it again to add clients, or to renew what ends within 90 days (certificates last a year, authorities five). An
    authority is never overwritten, and signs no other hosts than those it was made for. Its keys lie unencrypted
    in DIR and nothing can be revoked: for production use an authority of your organization's.
    """
    from ...inference.access import make_certificates

    pairs = make_certificates(folder, host or [], client or [])
    for pair in pairs:
        typer.echo(f"{pair.certificate} and {pair.key.name}: {'new' if pair.new else 'as they were'}")
    names = {pair.certificate.name for pair in pairs}
    server = "--tls-cert {0}/server.pem --tls-key {0}/server.key" if "server.pem" in names else ""
    clients = "--tls-client-ca {0}/clients.pem" if names - {"server.pem"} else ""
    typer.echo(f"deepreduce serve PLAN {server} {clients}".format(folder).replace("  ", " ").rstrip())
    trust = "--tls-ca {0}/authority.pem" if server else ""
    own = "--tls-cert {0}/client-NAME.pem --tls-key {0}/client-NAME.key" if clients else ""
    typer.echo(f"deepreduce predict HOST:PORT IMAGE {trust} {own}".format(folder).replace("  ", " ").rstrip())
    typer.echo("for development only: keep DIR to yourself, and give each client its own pair", err=True)
