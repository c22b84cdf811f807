"""A client's connection: what it needs to be made, and the greeting, after which both sides know the plan."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ...errors import SessionError
from ...plan import Plan, encode
from ...plan.execution.messages import Protocol
from ..store import ClientStore, Purpose
from ..transport.channel import Channel, Stream
from ..transport.errors import LostError, PeerError, SilenceError, UnreachableError
from ..transport.frames import Reason
from ..transport.handshake import VERSION, ClientHello, VersionError, checked_plan, greet_server
from ..transport.meter import Phase
from ..transport.streams import TcpStream, TlsStream, checked_context
from ..transport.tls_failures import tls_failure

PLAIN_HINT = "if the server there speaks TLS, leave `insecure` out; else connect again"


@dataclass(frozen=True, slots=True)
class Destination:
    """Address, credentials and request of a client; the fields are `Client`'s arguments."""

    host: str
    port: int
    protocol: Protocol
    batch: int
    tls: ssl.SSLContext | None
    server_name: str | None
    pin: str | None
    token: str | None = field(repr=False)
    timeout_s: float
    keeps: bool  # what is prepared is for the store
    plan_name: str | None  # None: which plans there are is asked

    @property
    def place(self) -> str:
        """Key of the plan in a store: the server's address, its name where that is another, and the plan's name."""
        plan = f" /{self.plan_name}" if self.plan_name else ""
        return f"{self.host}:{self.port}" + (f" {self.server_name}" if self.server_name else "") + plan

    @property
    def name(self) -> str:
        """Name of the server, which its certificate is for: the client has one identity for each."""
        return (self.server_name or self.host).lower()


@dataclass(frozen=True, slots=True)
class Connection:
    """After the greeting. ``stored``: both sides have a store, so that what is prepared outlives the connection.
    ``metered``: the client's use is limited, so that it asks before it burns anything.
    """

    channel: Channel
    plan: Plan
    plan_digest: str
    most_prepared: int
    purpose: Purpose
    stored: bool
    metered: bool


def greet(target: Destination, store: ClientStore | None, known: Plan | None, greeting: Phase) -> Connection:
    """Connects. ``known``: the plan of an earlier connection. Raises `SessionError`, `StoreError`, `SettingError`."""
    channel = Channel(open_stream(target), "server", target.timeout_s)
    with closing_on_error(channel):
        content, digest = _known(target, store, known)
        identity = os.urandom(32) if store is None else store.identity(target.name)
        hello = ClientHello(
            VERSION,
            target.protocol,
            target.batch,
            target.token,
            digest,
            identity.hex(),
            target.keeps,
            target.plan_name,
        )
        with channel.meter.phase(greeting):
            try:
                answer, sent = greet_server(channel, hello)
            except LostError as error:  # as by a server that is about to stop, or not there yet behind a balancer
                hint = PLAIN_HINT if target.tls is None else error.hint
                raise UnreachableError(error.message, hint) from None
        plan = known if sent is None and known is not None else checked_plan(answer, sent or content, target.pin)
        # Material is for the server and for the identity under which it was prepared.
        peer = hashlib.sha256(b"deepreduce peer" + answer.identity.encode() + identity).hexdigest()[:32]
        if store is not None:
            store.remember(target.place, peer, answer.plan_digest, sent)
        purpose = Purpose(peer, answer.plan_digest, target.protocol, target.batch)
        stored = target.keeps and answer.keeps
        return Connection(channel, plan, answer.plan_digest, answer.max_prepared, purpose, stored, answer.metered)


@contextmanager
def closing_on_error(channel: Channel) -> Iterator[None]:
    """Close the session after any error, and tell the peer unless the peer sent the error."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, PeerError):
            channel.close()
        else:
            channel.fail(_reason(error))
        raise


def _known(target: Destination, store: ClientStore | None, known: Plan | None) -> tuple[bytes, str | None]:
    """Return the plan that the server need not send, if there is one, and its digest."""
    if known is not None:
        content = encode(known)
        return content, hashlib.sha256(content).hexdigest()
    if store is not None:
        for digest in (target.pin, store.plan_at(target.place)):
            if digest is not None and (found := store.plan(digest)) is not None:
                return found, digest
    return b"", None


def _reason(error: BaseException) -> Reason:
    """Return the reason that is sent to the peer."""
    if isinstance(error, VersionError):
        return Reason.VERSION
    if isinstance(error, SilenceError):
        return Reason.TIMEOUT
    return Reason.MALFORMED if isinstance(error, SessionError) else Reason.INTERNAL


def open_stream(target: Destination) -> Stream:
    """Return the connected stream. Raises `SessionError`, `SettingError`."""
    host, port = target.host, target.port
    if target.tls is not None:
        checked_context(target.tls, server_side=False)
    try:
        sock = socket.create_connection((host, port), target.timeout_s)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UnreachableError(f"cannot connect to {host}:{port}: {error}", "is the server running there?") from None
    try:
        if target.tls is None:
            return TcpStream(sock, target.timeout_s)
        return TlsStream(sock, target.tls, target.timeout_s, server_name=target.server_name or host)
    except (OSError, ValueError) as error:
        sock.close()
        if isinstance(error, ConnectionError | ssl.SSLEOFError):
            raise UnreachableError(
                f"{host}:{port} closed the connection: {error}", "is the server restarting?"
            ) from None
        failure = tls_failure(error, target.server_name or host)
        raise SessionError(f"TLS with {host}:{port} failed: {failure.text}", failure.hint) from None
