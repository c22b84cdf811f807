"""``deepreduce usage``: what was counted of each identity."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..errors import StoreError
from .options import JsonOption


def usage_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A server's --state, or its --store.", show_default=False)
    ],
    as_json: JsonOption = False,
) -> None:
    """Show the images that each identity has prepared and predicted, for each plan with its weights."""
    from ..inference.access.usage_ledger import DATABASE, Ledger

    place = folder / "state" if (folder / "state").is_dir() else folder
    if not (place / DATABASE).is_file():
        raise StoreError(f"nothing was counted in {folder}", "give the folder of serve --state or --store")
    ledger = Ledger(place)
    try:
        rows: list[dict[str, Any]] = [asdict(one) for one in ledger.usage()]
    finally:
        ledger.close()
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("identity", "computation", "images prepared", "predicted", "weights, at most 2^")
    for row in rows:
        table.add_row(
            escape(row["identity"]), row["computation"][:12], f"{row['prepared']:,}", f"{row['predicted']:,}",
            _leak(row["prepared"]),
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(
        "The last column: how far, at most, the noise of all answers that the identity was sent is from one that says "
        "nothing of the weights (l <= 32; SECURITY.md, Parameters).",
        soft_wrap=True,
    )


def _leak(images: int) -> str:
    from ..inference.access.usage_ledger import NOISE_BITS

    return f"{math.log2(images) / 2 - NOISE_BITS:.1f}" if images else "-"
