"""``deepreduce audit``: is a server's audit log what was written?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption

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
    alone does not show that its end was cut off, or that all of it was written anew.
    """
    from ..inference.access.audit_log import FIRST
    from ..inference.access.audit_verify import check

    found = check(files, expect)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    typer.echo(f"{found.lines} lines, each follows the one before; head {found.head}")
    if found.first != FIRST:
        typer.echo(f"note: it goes on from a file whose last line has the hash {found.first}")
    if found.passed_over:
        typer.echo(f"note: {found.passed_over} pieces are no lines; the log says so after each (a crash, a full disk)")
    if found.torn:
        typer.echo(f"note: {found.torn} bytes at the end are no whole line: being written, or torn by a crash")
    if not found.stopped:
        typer.echo("note: the last line is not the server's end: it runs, or crashed, or lines were cut off")
