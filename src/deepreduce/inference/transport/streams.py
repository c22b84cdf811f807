"""Byte streams for the transport: plain TCP, for tests and measurements, and TLS 1.3."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

from ...errors import SettingError
from ..identity import certificate_name

CHUNK = 1 << 18  # bytes per TLS step
LINGER_S = 1.0  # for a peer that still sends when we end


class TcpStream:
    """A connected TCP socket, unprotected: an attacker in between can read and change every message."""

    certificate_name: str | None = None  # plain TCP has none

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout_s)
        self._socket = sock

    def send(self, *parts: Any) -> None:
        """Sends all bytes of all parts; one system call while the kernel takes them."""
        views = [memoryview(part) for part in parts if len(part)]
        while views:
            sent = self._socket.sendmsg(views)
            while views and sent >= len(views[0]):
                sent -= len(views.pop(0))
            if sent:
                views[0] = views[0][sent:]

    def receive_into(self, view: memoryview) -> int:
        """Fills a part of the view; 0 at the end of the stream."""
        return self._socket.recv_into(view)

    def readable(self) -> bool:
        """Return whether there is something to receive, or the end of the stream."""
        return _readable(self._socket)

    def set_timeout(self, seconds: float) -> None:
        """Set the longest wait of one step."""
        self._socket.settimeout(seconds)

    def finish(self) -> None:
        """Ends our direction, gives the peer a moment to read, closes."""
        _finish(self._socket)

    def shutdown(self) -> None:
        """Ends both directions; another thread that waits on them wakes up."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends both directions."""
        _close(self._socket)


class TlsStream:
    """TLS over a connected socket.

    An OpenSSL connection may not be read and written by two threads at once, so its state (in memory, no sockets) is
    behind one lock and the socket's two directions are used outside of it.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, timeout_s: float, *, server_name: str | None
    ) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout_s)
        self._socket = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=server_name is None, server_hostname=server_name)
        self._state, self._sending = threading.Lock(), threading.Lock()
        self._handshake(timeout_s)

    def send(self, *parts: Any) -> None:
        """Sends all bytes of all parts."""
        with self._sending:
            for part in parts:
                view = memoryview(part)
                for start in range(0, len(view), CHUNK):
                    with self._state:
                        self._tls.write(view[start : start + CHUNK])
                        records = self._out.read()
                    self._socket.sendall(records)

    def receive_into(self, view: memoryview) -> int:
        """Fills a part of the view; 0 at the end of the stream."""
        limit = self._socket.gettimeout()
        deadline = float("inf") if limit is None else time.monotonic() + limit
        while True:
            with self._state:
                try:
                    count: int = self._tls.read(len(view), view)  # type: ignore[assignment]  # with a buffer: a count
                    return count
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLZeroReturnError:
                    return 0
            if time.monotonic() > deadline:  # a record that trickles gives nothing until it is whole
                raise TimeoutError
            records = self._socket.recv(CHUNK)
            if not records:
                return 0
            with self._state:
                self._in.write(records)

    @property
    def certificate_name(self) -> str | None:
        """Whom the peer's certificate names, if one was asked for and verified."""
        return certificate_name(self._tls.getpeercert())

    def readable(self) -> bool:
        """Return whether there is something to receive, or the end of the stream."""
        with self._state:  # what came together with something else is here already
            waiting = self._tls.pending() or self._in.pending
        return bool(waiting) or _readable(self._socket)

    def set_timeout(self, seconds: float) -> None:
        """Set the longest wait of one step."""
        self._socket.settimeout(seconds)

    def finish(self) -> None:
        """Ends our direction, gives the peer a moment to read, closes."""
        _finish(self._socket)

    def shutdown(self) -> None:
        """Ends both directions; another thread that waits on them wakes up."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends both directions."""
        _close(self._socket)

    def _handshake(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            if time.monotonic() > deadline:
                raise TimeoutError("the TLS handshake took too long")
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                records = self._socket.recv(CHUNK)
                if not records:
                    raise ConnectionResetError("closed during the TLS handshake") from None
                self._in.write(records)
            except ssl.SSLError:
                self._flush()  # the alert that tells the peer
                if self._tls.server_side:
                    _finish(self._socket)  # which a client that has sent its hello already would else not get to read
                raise
            else:
                return self._flush()

    def _flush(self) -> None:
        if self._out.pending:
            self._socket.sendall(self._out.read())


def checked_context(context: ssl.SSLContext, *, server_side: bool) -> None:
    """Raises `SettingError` at a context for the other side, or one that would take less than TLS 1.3."""
    if not isinstance(context, ssl.SSLContext):
        raise SettingError(f"tls is a {type(context).__name__}", "make it with client_context or server_context")
    if context.minimum_version < ssl.TLSVersion.TLSv1_3:
        raise SettingError("the TLS context accepts versions before 1.3", "make it with deepreduce.inference.*_context")
    wrong = ssl.PROTOCOL_TLS_CLIENT if server_side else ssl.PROTOCOL_TLS_SERVER
    if context.protocol == wrong:
        raise SettingError(
            "the TLS context is for the other side", "client_context for clients, server_context for servers"
        )


def server_context(certificate: Path, key: Path, client_authority: Path | None = None) -> ssl.SSLContext:
    """TLS 1.3 for a server; with ``client_authority`` clients must show a certificate signed by it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # a session is not resumed: every client shows its certificate again
    _load(lambda: context.load_cert_chain(certificate, key), f"{certificate} and {key}")
    if client_authority is not None:
        _load(lambda: context.load_verify_locations(client_authority), str(client_authority))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    authority: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return a TLS 1.3 context that trusts only ``authority``, or the system's authorities if it is None.

    ``certificate`` and ``key`` are its own. Host names are checked. Raises `SettingError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which trusts no authority yet
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if authority is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if authority is not None:
        _load(lambda: context.load_verify_locations(authority), str(authority))
    if certificate is not None:
        _load(lambda: context.load_cert_chain(certificate, key), f"{certificate} and {key}")
    return context


def _load(load: Any, what: str) -> None:
    try:
        load()
    except (OSError, ssl.SSLError) as error:
        raise SettingError(f"cannot use {what}: {error}", "give PEM files that belong together") from None


def _finish(sock: socket.socket) -> None:
    """A socket that is closed over unread data resets the connection, and what was just sent may be lost with it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(LINGER_S)
        deadline = time.monotonic() + LINGER_S
        while time.monotonic() < deadline and sock.recv(CHUNK):
            pass
    _close(sock)


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()  # not select(): descriptors may be many
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the peer may have been first
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
