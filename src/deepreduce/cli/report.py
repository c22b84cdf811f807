"""``deepreduce report``: one self-contained page of a search's results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .options import JsonOption


def report_command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A search's folder.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Write DIR/report.html (one file, works offline), DIR/frontier.svg and DIR/frontier.csv."""
    from ..report import write_report

    written = write_report(directory)
    if as_json:
        typer.echo(json.dumps({"written": [str(path) for path in written]}))
        return
    for path in written:
        Console(soft_wrap=True).print(f"wrote {escape(str(path))}", highlight=False)
