"""``deepreduce token``: who may ask a server, by tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingError


def token_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose token: letters, digits and . _ @ + -")],
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="The server's --tokens; made as needed.")],
    replace: Annotated[bool, typer.Option("--replace", help="A new token; the old one ends.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="No token for NAME any more.")] = False,
) -> None:
    """Make a token for NAME, print it once, and put its hash into FILE (mode 0600).

    A running server reads FILE again by itself. Give the token to its owner, who calls predict with --token-file.
    """
    from ..inference.access.tokens import add_token, remove_token

    if replace and remove:
        raise SettingError("--replace and --remove together", "give one of them")
    if remove:
        remove_token(file, name)
        typer.echo(f"{file}: no token for {name} any more; sessions that are open go on", err=True)
        return
    token = add_token(file, name, replace)
    typer.echo(token)
    typer.echo(f"{file}: the hash of a token for {name}; the token itself is shown this once", err=True)
