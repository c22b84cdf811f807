"""The plans that a server offers to those whom it lets in."""

from __future__ import annotations

import os
import ssl

from ...errors import SettingError
from ...plan.execution.messages import DEFAULT
from ..access.default_tls import default_client_tls
from ..checks import check_between, check_seconds, check_token
from ..transport.channel import Channel
from ..transport.handshake import VERSION, ClientHello, ask_plans
from ..transport.plan_list import PlanOffer
from .connection import Destination, closing_on_error, open_stream


def list_plans(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    insecure: bool = False,
    token: str | None = None,
    timeout_s: float = 60.0,
) -> list[PlanOffer]:
    """Return what the server at an address offers, in the order of the names. The arguments are `Client`'s.

    Raises `SessionError`, `BusyError`.
    """
    check_between("port", port, 1, 65535)
    check_seconds("timeout_s", timeout_s)
    check_token(token)
    if insecure and (tls is not None or server_name is not None):
        raise SettingError("plain TCP and TLS are asked for", "leave `insecure` out, or the others")
    if tls is None and not insecure:
        tls, server_name = default_client_tls(host, server_name)
    target = Destination(host, port, DEFAULT, 1, tls, server_name, None, token, timeout_s, False, None)
    channel = Channel(open_stream(target), "server", timeout_s)
    with closing_on_error(channel):
        hello = ClientHello(VERSION, target.protocol, 1, token, None, os.urandom(32).hex(), False, None)
        offers = ask_plans(channel, hello)
    channel.close()
    return offers
