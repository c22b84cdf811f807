"""TLS where no certificates are named: on this machine the development CA, elsewhere the system's authorities."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

from ...errors import SettingError
from ..transport.streams import client_context, server_context
from .development_ca import LOOPBACK, Pair, loopback_authority, loopback_pair


def is_loopback(host: str) -> bool:
    """Return whether it is a loopback address, or "localhost".

    Other names are not looked up: those who answer for a name could point it here, and the token for it would be shown
    to another server.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def default_client_tls(
    host: str, server_name: str | None = None, certificate: Path | None = None, key: Path | None = None
) -> tuple[ssl.SSLContext, str | None]:
    """Return the context of a client of ``host``, and the name that the certificate must be for (None: the host).

    ``certificate`` and ``key`` are the client's own. Raises `SettingError` when there is no development CA yet.
    """
    if is_loopback(host):  # the development CA signs for this machine only, whichever of its names was given
        return client_context(loopback_authority(), certificate, key), server_name or LOOPBACK[0]
    return client_context(None, certificate, key), server_name


def default_pair(host: str) -> Pair:
    """Return the certificate of a server on ``host``, made on first use.

    Raises `SettingError` for an address that others can reach: for them there must be a certificate of their own.
    """
    if not is_loopback(host):
        raise SettingError(
            f"{host} can be reached by others, and without TLS they can read the token and the plan, and be the server",
            "give a certificate: `tls_cert` and `tls_key`, in Python server_context(...); deepreduce certificates "
            "makes some for tests; or `insecure` for a test",
        )
    return loopback_pair()


def default_server_tls(host: str) -> ssl.SSLContext:
    """Return the context of a server on ``host`` with the certificate of `default_pair`. Raises `SettingError`."""
    pair = default_pair(host)
    return server_context(pair.certificate, pair.key)
