"""TLS settings and tokens of the command line. On this machine a development CA, made on first use; to others real
certificates; plain TCP only where both sides say --insecure.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import typer

from ..errors import SettingError

PLAIN = "plain TCP: anyone who listens has the token and the plan, and anyone who can interfere can be the other side"


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """A server's certificate and key, and whose certificates its clients must show, if they must."""

    certificate: Path
    key: Path
    client_authority: Path | None
    development: bool

    def context(self) -> ssl.SSLContext:
        """Raises `SettingError`."""
        from ..inference.transport import server_context

        return server_context(self.certificate, self.key, self.client_authority)

    def reload(self, context: ssl.SSLContext) -> None:
        """A certificate that was renewed, for connections from now on. Raises `SettingError`; then nothing changes."""
        self.context()  # whether the files can be used
        context.load_cert_chain(self.certificate, self.key)


def server_files(
    host: str, certificate: Path | None, key: Path | None, client_authority: Path | None, insecure: bool
) -> ServerFiles | None:
    """Return what a server on that address shows; None: it speaks plain TCP. Raises `SettingError`."""
    if (certificate is None) != (key is None):
        raise SettingError("--tls-cert and --tls-key must be given together", "give both, or neither")
    if insecure:
        if certificate is not None or client_authority is not None:
            raise SettingError("--insecure with certificates", "leave --insecure out, or the certificates")
        return None
    if certificate is not None and key is not None:
        return ServerFiles(certificate, key, client_authority, False)
    from ..inference.access import default_pair

    pair = default_pair(host)
    return ServerFiles(pair.certificate, pair.key, client_authority, True)


@dataclass(frozen=True, slots=True)
class ClientTls:
    """``context`` None: plain TCP. ``server_name``: what the certificate must be for, if not the address."""

    context: ssl.SSLContext | None
    server_name: str | None


def client_tls(
    host: str,
    system: bool,
    authority: Path | None,
    certificate: Path | None,
    key: Path | None,
    server_name: str | None,
    insecure: bool,
) -> ClientTls:
    """Return the TLS context for that address; on this machine the development CA is trusted by default.

    Raises `SettingError`.
    """
    from ..inference.transport import client_context

    if key is not None and certificate is None:
        raise SettingError("a key without its certificate", "give --tls-cert and --tls-key")
    if insecure:
        if system or authority or certificate or server_name:
            raise SettingError("--insecure with TLS options", "leave --insecure out, or the others")
        typer.echo(f"warning: {PLAIN}", err=True)
        return ClientTls(None, None)
    if authority is not None or system:
        return ClientTls(client_context(authority, certificate, key), server_name)
    from ..inference.access import default_client_tls

    return ClientTls(*default_client_tls(host, server_name, certificate, key))


def read_token(path: Path) -> str:
    """Return the first line of a file. Raises `SettingError`."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingError(f"the token file {path} cannot be read: {reason}", "check the path") from None
    if not lines or not lines[0].strip():
        raise SettingError(f"the token file {path} is empty", "write the token into its first line")
    return lines[0].strip()
