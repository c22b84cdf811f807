"""``deepreduce report``: one self-contained page of a search's results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..options import JsonOption


def report_command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A search's folder.", show_default=False)],
    x: Annotated[
        str, typer.Option("--x", metavar="relus|online|total|traffic", help="What frontier.svg is drawn against.")
    ] = "relus",
    run: Annotated[
        str | None,
        typer.Option(metavar="PROTOCOL@NETWORK", help="Which measurement --x takes.", show_default="the first"),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Show in frontier.svg what other papers report on the same data.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write DIR/report.html (one file, works offline), DIR/frontier.svg and DIR/frontier.csv.

    Of a search that is not finished it shows what is there. What `deepreduce bench DIR` measured is in the page and the
    table: switch the chart's axis to seconds or megabytes. What other papers report on the same data is in the page,
    too, behind a box for each method.
    """
    from ...report import search_progress, write_report

    written = write_report(directory, x, run, published)
    progress = search_progress(directory)
    if as_json:
        typer.echo(json.dumps({"written": [str(path) for path in written], "unfinished": progress or None}))
        return
    if progress:
        typer.echo(f"note: the search is not finished, {progress}: the report shows what is there", err=True)
    for path in written:
        Console(soft_wrap=True).print(f"wrote {escape(str(path))}", highlight=False)
