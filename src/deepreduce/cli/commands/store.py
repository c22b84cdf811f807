"""``deepreduce store``: what this client has prepared, and its removal."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...errors import SettingError
from ...units import parse_duration, show_bytes, show_duration
from ..options import JsonOption, StoreKeyOption

if TYPE_CHECKING:
    from ...inference.store import Prepared, Selection

SHOWN_DIGITS = 12  # of a plan's digest

store_app = typer.Typer(help="See or delete what this client has prepared (predict --store).", no_args_is_help=True)

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="The store.", show_default="~/.local/share/deepreduce/client"),
]


@store_app.command("list")
def list_command(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the predictions that are prepared, by server, plan, protocol and batch (images for each)."""
    from ...inference.store import store_contents

    folder = _folder(store)
    found = store_contents(folder)
    if as_json:
        typer.echo(json.dumps([_entry(one) for one in found]))
    elif found:
        _show(found)
        typer.echo(f"{_sum(found)} in {folder}")
    else:
        typer.echo(f"nothing is prepared in {folder}")


@store_app.command("prune")
def prune_command(
    plans: Annotated[
        list[str] | None,
        typer.Argument(metavar="PLAN", help="Digests, or their first digits.", show_default=False),
    ] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Of plans that, when last seen, their server no longer had.")
    ] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Prepared so long ago: 7d, 12h, 1h30m.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is prepared.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted, delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StoreOption = None,
    store_key: StoreKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete prepared predictions that meet all conditions given. They can never be used again.

    Running predictions go on, and prepare what they then lack. Servers delete their part when they need the room.
    """
    from ...inference.store import ClientStore, store_contents

    folder, selection = _folder(store), _selection(plans or [], unused, older_than, everything)
    found = store_contents(folder, selection)
    if not as_json and found:
        _show(found)
    if found and not dry_run:
        _confirm(f"delete {_sum(found)} in {folder}?", yes, as_json)
        # What another process has prepared since then was not shown.
        selection = replace(selection, before=max(one.newest for one in found))
        with contextlib.closing(ClientStore(folder, key=store_key)) as opened:
            batches, size = opened.prune(selection)
            notices = opened.notices
    else:
        batches, size, notices = 0, 0, []
    if as_json:
        deleted = {"batches": batches, "bytes": size}
        typer.echo(json.dumps({"selected": [_entry(one) for one in found], "deleted": deleted, "notes": notices}))
        return
    for notice in notices:
        typer.echo(f"note: {notice}", err=True)
    if not found:
        typer.echo(f"nothing to delete in {folder}")
    elif dry_run:
        typer.echo(f"would delete {_sum(found)} in {folder}")
    else:
        typer.echo(f"deleted {_count(batches)}, {show_bytes(size)}")


def _folder(store: Path | None) -> Path:
    from ...paths import client_store_folder

    return store or client_store_folder()


def _selection(plans: list[str], unused: bool, older_than: str | None, everything: bool) -> Selection:
    from ...inference.store import Selection

    if everything and (plans or unused or older_than is not None):
        raise SettingError("--all and a condition together", "give one of them")
    if not (everything or plans or unused or older_than is not None):
        raise SettingError("nothing says what to delete", "give a PLAN, --unused, --older-than TIME or --all")
    before = None
    if older_than is not None:
        try:
            before = time.time() - parse_duration(older_than)
        except ValueError:
            raise SettingError(f"--older-than is {older_than!r:.40}", "write a time as 7d, 12h or 1h30m") from None
    return Selection(tuple(plan.lower() for plan in plans), unused, before)


def _confirm(question: str, yes: bool, as_json: bool) -> None:
    """Ask on a terminal; elsewhere ``--yes`` must be given. Raises `SettingError`, `typer.Abort`."""
    if yes:
        return
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SettingError("what is deleted must be prepared again", "look with --dry-run, then add --yes")
    typer.confirm(question, abort=True)


def _show(found: list[Prepared]) -> None:
    """Print a table that fits into 80 columns."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("server", overflow="fold")
    for name in ("plan", "protocol"):
        table.add_column(name, no_wrap=True)
    for name in ("batch", "ready", "size", "newest"):
        table.add_column(name, no_wrap=True, justify="right")
    now = time.time()
    for one in found:
        table.add_row(
            "no longer served" if one.server is None else escape(one.server),
            escape(one.plan[:SHOWN_DIGITS]),
            escape(one.protocol),
            str(one.images),
            str(one.batches),
            show_bytes(one.bytes),
            _age(now - one.newest),
        )
    Console(highlight=False).print(table)


def _age(seconds: float) -> str:
    hours = int(seconds / 3600)
    if hours < 2:
        return show_duration(max(0.0, seconds))
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"


def _count(batches: int) -> str:
    return f"{batches} {'prediction' if batches == 1 else 'predictions'}"


def _sum(found: list[Prepared]) -> str:
    return f"{_count(sum(one.batches for one in found))}, {show_bytes(sum(one.bytes for one in found))}"


def _entry(one: Prepared) -> dict[str, Any]:
    times = {name: datetime.fromtimestamp(getattr(one, name), UTC).isoformat() for name in ("oldest", "newest")}
    return {**asdict(one), **times}
