"""``deepreduce certificates``: an authority of one's own, for development."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    in DIR and nothing can be revoked: for production use an authority of your organisation's.
    """
    from ..inference.access.development_ca import make_certificates

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
