"""The server: holds the weights, computes the answer, sees neither image nor answer. One thread per session."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from ...errors import SettingError
from ...plan import Plan
from ..access.default_tls import default_server_tls
from ..checks import check_between
from ..transport.channel import Channel
from ..transport.errors import BusyError
from ..transport.frames import Reason
from ..transport.limit import Limit, LimitKind
from ..transport.meter import Run
from ..transport.streams import TcpStream, TlsStream
from .events import EventObserver, log
from .limits import RETRY_S
from .resources import ServerResources
from .session import Place, Session
from .settings import ServerSettings
from .workers.lease import ForkServersClient

BACKLOG = 256  # connections that wait to be accepted
SHARED_S = 0.25  # between looks whether to stop, where accepting cannot be interrupted
YIELD_S, FULL_S = 0.001, 0.05  # for each session, and by whom has no room: so long others may accept first
TURNED_AWAY = 64  # clients at a time that are told why they are not served
GREETING = 256  # connections at a time that have not said who they are; the oldest of more is closed
GREETING_S = 10.0  # for one step of the handshake, and for the hello
SETTLE_S = 0.25  # for requests that are under way when the server is stopped
CLOSING_S = 2.0  # for threads of sessions to end by themselves


class Server:
    """A server of a plan with its weights: `listen`, then `serve_forever` or `start`; a context manager.

    ``name``: what clients call the plan; "": it needs none. `load` serves others beside it, and new versions.
    ``fork_servers`` and ``store_lock`` are what several processes of one service share: the processes that fork workers
    (by default one of this server's own for each plan), and the lock of the store
    (`deepreduce.inference.server.supervisor`).
    ``on_run`` is called with what each inference cost this side, ``observers`` with every event
    (`deepreduce.inference.server.events`), both from the session's thread.

    Raises `PlanError` when the weights do not fit the plan or the homomorphic parameters, `SettingError`, `StoreError`.
    """

    def __init__(
        self,
        plan: Plan,
        weights: Mapping[str, NDArray[Any]],
        settings: ServerSettings | None = None,
        *,
        name: str = "",
        fork_servers: ForkServersClient | None = None,
        store_lock: int | None = None,
        on_run: Callable[[Run], None] | None = None,
        observers: Sequence[EventObserver] = (),
    ) -> None:
        self.settings = ServerSettings() if settings is None else settings
        if not isinstance(self.settings, ServerSettings):
            raise SettingError(
                f"the settings are a {type(settings).__name__}", "Server(plan, weights, ServerSettings(token=...))"
            )
        self.resources = ServerResources(
            name, plan, weights, self.settings, fork_servers, store_lock, on_run, observers
        )
        self.closed = self._shared = self._accepting = False
        self._count = self._leaving = 0
        self._listener: socket.socket | None = None
        self._tls: ssl.SSLContext | None = None  # None: plain TCP
        self._sockets: dict[socket.socket, Session | None] = {}
        self._greeting: dict[socket.socket, str] = {}  # addresses of those not let in yet, the oldest first
        self._entered: set[socket.socket] = set()  # those that were let in
        self._guard = threading.Lock()

    def load(self, name: str, plan: Plan, weights: Mapping[str, NDArray[Any]]) -> bool:
        """Serve one plan more, or a new version of the one with that name; returns False if that is served already.

        New sessions get it; those that are open finish with the version that they have, which is freed with the last of
        them. What clients had prepared for the former version is not used any more. Raises what the constructor raises;
        then nothing changes.
        """
        return self.resources.load(name, plan, weights)

    def listen(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Opens the port (0: any free one) and returns its number. Raises `SettingError`."""
        check_between("port", port, 0, 65535)
        self._tls = self._tls_for(host)
        self._listener = listening_socket(host, port)
        bound: int = self._listener.getsockname()[1]
        return bound

    def adopt(self, listener: int) -> int:
        """Takes over a descriptor that listens, which other processes accept from, too; returns its port."""
        self._listener, self._shared = socket.socket(fileno=listener), True
        self._listener.settimeout(SHARED_S)  # another process may be faster, and no one may shut it down
        host, bound, *_ = self._listener.getsockname()
        self._tls = self._tls_for(host)
        return int(bound)

    def not_ready(self) -> str | None:
        """Return why no session is accepted now; None: sessions are."""
        if self.resources.stopping:
            return "the server is being shut down"
        return self.resources.exhausted() if self._accepting else "the server does not accept sessions yet"

    def serve_forever(self) -> None:
        """Accepts sessions, each in a thread of its own, until `close`."""
        listener = self._listening()
        self._accepting = True
        while not self.resources.stopping:
            try:
                if self._shared:
                    self._let_others(listener)
                sock, address = listener.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if not self.resources.stopping:  # out of descriptors, or a client that has left already
                    log.warning("cannot accept: %s", error)
                    time.sleep(0.1)
                continue
            try:
                self._begin(sock, str(address[0]))
            except RuntimeError as error:  # out of threads
                log.warning("cannot serve %s: %s", address[0], error)
                self._end(sock)

    def start(self) -> threading.Thread:
        """`serve_forever` in a thread."""
        self._listening()
        thread = threading.Thread(target=self.serve_forever, daemon=True)
        thread.start()
        return thread

    def shutdown(self, grace_s: float = 30.0) -> None:
        """Stops accepting, tells idle clients, lets what is being computed finish for up to ``grace_s``, and closes."""
        self._stop_listening()
        self.resources.emit("stopping", sessions=len(self._entered))
        deadline = time.monotonic() + grace_s
        time.sleep(min(SETTLE_S, grace_s))
        dismissed: set[socket.socket] = set()
        while time.monotonic() < deadline:
            with self._guard:
                open_sessions = dict(self._sockets)
            if not open_sessions:
                break
            for sock, session in open_sessions.items():
                if sock not in dismissed and (session is None or session.dismiss()):
                    dismissed.add(sock)
                    _wake(sock)
            time.sleep(0.02)
        self.close()

    def close(self) -> None:
        """Ends all sessions at once. Their threads close their sockets; here they are only woken."""
        first = not self.closed
        self.closed = True
        self._stop_listening()
        with self._guard:
            for sock in self._sockets:
                _wake(sock)
        deadline = time.monotonic() + CLOSING_S
        while self._sockets and time.monotonic() < deadline:
            time.sleep(0.005)
        self.resources.close()
        if first:
            self.resources.access.note_only("stopped")
            self.resources.emit("stopped", audit=self.resources.access.audit_head)
        self.resources.access.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _let_others(self, listener: socket.socket) -> None:
        """Leaves a new client to processes with fewer sessions. Raises `TimeoutError` when there is none."""
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        if not poll.poll(1000 * SHARED_S):
            raise TimeoutError
        count = min(len(self._sockets), self.settings.max_sessions)
        time.sleep(count * YIELD_S + (FULL_S if count >= self.settings.max_sessions else 0.0))

    def _tls_for(self, host: str) -> ssl.SSLContext | None:
        if self.settings.insecure or self.settings.tls is not None:
            return self.settings.tls
        return default_server_tls(host)

    def _listening(self) -> socket.socket:
        if self._listener is None:
            raise SettingError("the server does not listen yet", "call listen() first")
        return self._listener

    def _stop_listening(self) -> None:
        self.resources.stopping = True
        if self._listener is not None:
            if not self._shared:
                _wake(self._listener)
            self._listener.close()

    def _begin(self, sock: socket.socket, address: str) -> None:
        oldest = None
        with self._guard:
            refused = not self.resources.admits(address)
            full = len(self._sockets) >= self.settings.max_sessions + GREETING + TURNED_AWAY  # of threads that end
            if self.resources.stopping or full or (refused and self._leaving >= TURNED_AWAY):
                sock.close()
                return
            if refused:
                self._leaving += 1
            else:
                if len(self._greeting) >= GREETING:  # the oldest of the address that has the most of them goes
                    busiest = Counter(self._greeting.values()).most_common(1)[0][0]
                    oldest = next(one for one, whose in self._greeting.items() if whose == busiest)
                    self._greeting.pop(oldest)
                self._sockets[sock], self._greeting[sock] = None, address
                self._count += 1
            number = self._count
        if oldest is not None:
            _wake(oldest)
        if refused:
            self.resources.emit("refused", address=address, reason="rate")
            try:
                threading.Thread(target=self._turn_away, args=(sock,), daemon=True).start()
            except RuntimeError:  # out of threads
                with self._guard:
                    self._leaving -= 1
                raise
        else:
            threading.Thread(target=self._session, args=(sock, address, number), daemon=True).start()

    def _turn_away(self, sock: socket.socket) -> None:
        """Says why, as far as the client listens."""
        try:
            with contextlib.suppress(OSError):
                timeout_s = min(5.0, self.settings.timeout_s)
                Channel(self._stream(sock, timeout_s), "client", timeout_s).fail(Reason.LIMIT, Limit(LimitKind.RATE))
        finally:
            with self._guard:
                self._leaving -= 1
            sock.close()

    def _session(self, sock: socket.socket, address: str, number: int) -> None:
        try:
            timeout_s = min(GREETING_S, self.settings.timeout_s)
            stream = self._stream(sock, timeout_s)
            channel = Channel(stream, "client", timeout_s)
            place = Place(partial(self._enter, sock, channel, address), partial(self._leave, sock))
            session = Session(self.resources, channel, address, number, stream.certificate_name, place)
            self._sockets[sock] = session
            session.run()
        except OSError as error:  # ssl.SSLError is one
            if not self.resources.stopping:
                text = getattr(error, "reason", None) or type(error).__name__
                self.resources.access.refused(address, number, f"TLS: {text}")
                self.resources.emit("refused", session=number, address=address, reason="tls", text=text)
        finally:
            self._end(sock)

    def _enter(self, sock: socket.socket, channel: Channel, address: str) -> None:
        """Give a client that may come in a place. Raises `BusyError` when there is none."""
        with self._guard:
            if sock not in self._greeting or len(self._entered) >= self.settings.max_sessions:
                self.resources.not_admitted(address)
                raise BusyError(RETRY_S, limit=Limit(LimitKind.SESSIONS))
            self._greeting.pop(sock)
            self._entered.add(sock)
        channel.set_timeout(self.settings.timeout_s)

    def _leave(self, sock: socket.socket) -> None:
        with self._guard:
            self._entered.discard(sock)

    def _stream(self, sock: socket.socket, timeout_s: float) -> TcpStream | TlsStream:
        if self._tls is None:
            return TcpStream(sock, timeout_s)
        return TlsStream(sock, self._tls, timeout_s, server_name=None)

    def _end(self, sock: socket.socket) -> None:
        with self._guard:
            self._sockets.pop(sock, None)
            self._greeting.pop(sock, None)
            self._entered.discard(sock)
        sock.close()


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises `SettingError`."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise SettingError(f"cannot listen on {host}:{port}: {error}", "choose another address or port") from None


def _wake(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
