"""Fork servers that the processes of one service share: the supervisor has them, a server process leases one a plan.

    server process: the name of a computation (plan and weights), with a socket, the lease
    supervisor:     on the lease, 1 with the socket where that fork server's workers are ordered; 0: it has none such

A process keeps a lease for as long as it serves the plan, or a session has it. A fork server whose plan was replaced
ends with its last lease.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from numpy.typing import NDArray

from ....plan import Plan, digest
from ....plan.execution.messages import Protocol
from ...protocol.linear import computation
from ..weight_memory import allowed_bytes, held_bytes
from .fork_server import ForkServer, order
from .remote import WorkerError

COMPUTATION = 64  # hexadecimal digits
ANSWER_S = 30.0

PlanWeights = tuple[Plan, Mapping[str, NDArray[Any]]]


class ForkServers:
    """The fork servers of the plans that are served now, and of former versions that processes still lease.

    ``max_weight_bytes``: of the transformed weights of all that are served now; -1: half of the free memory for each.
    ``requests``: the socket to be inherited by server processes.
    """

    def __init__(self, threads: int, max_weight_bytes: int) -> None:
        self._threads, self._most = threads, max_weight_bytes
        self.requests, self._taken = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._guard = threading.Lock()
        self._current: dict[str, tuple[str, int]] = {}  # plan's name: computation, bytes of transformed weights
        self._servers: dict[str, ForkServer] = {}
        self._leases: dict[socket.socket, str] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._taken, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="deepreduce-leases", daemon=True)
        self._thread.start()

    def load(self, name: str, plan: Plan, weights: Mapping[str, NDArray[Any]]) -> bool:
        """Have a fork server for a plan, in the place of the former one of that name; whether it is another plan.

        Raises `PlanError`, `WorkerError`; then nothing changes.
        """
        made = computation(digest(plan), weights)
        if self._current.get(name, ("", 0))[0] == made:
            return False
        others = sum(held for other, (_, held) in self._current.items() if other != name)
        most = allowed_bytes(self._most, others)
        server = None if made in self._servers else ForkServer(plan, weights, self._threads, most)
        with self._guard:
            if server is not None:
                self._servers[made] = server
            self._current[name] = made, held_bytes(plan, most)
        self._end_unused()
        return True

    def keep_alive(self) -> bool:
        """Start again what has died; whether anything had. Raises `WorkerError`, `OSError`."""
        with self._guard:
            servers = list(self._servers.values())
        again, failed = False, None
        for server in servers:
            try:
                again = server.keep_alive() or again
            except (WorkerError, OSError) as error:  # the others are looked at all the same
                failed = error
        if failed is not None:
            raise failed
        return again

    def close(self) -> None:
        """Workers end with their sessions."""
        self._wake.close()
        self._thread.join()
        with self._guard:
            for lease in self._leases:
                lease.close()
            for server in self._servers.values():
                server.close()
            self._servers.clear()
        self._selector.close()
        for end in (self.requests, self._taken, self._woken):
            end.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                if key.fileobj is self._taken:
                    self._answer()
                else:
                    self._give_up(key.fileobj)  # type: ignore[arg-type]  # a socket: nothing else is registered

    def _answer(self) -> None:
        text, fds, _, _ = socket.recv_fds(self._taken, COMPUTATION, 1)
        if not fds:
            return
        lease, name = socket.socket(fileno=fds[0]), text.decode()
        with self._guard, suppress(OSError):  # the process has ended
            server = self._servers.get(name)
            if server is None:
                lease.send(b"\0")
            else:
                socket.send_fds(lease, [b"\1"], [server.orders.fileno()])
                self._leases[lease] = name
                self._selector.register(lease, selectors.EVENT_READ)
                return
        lease.close()

    def _give_up(self, lease: socket.socket) -> None:
        """The process has closed its end: it needs that fork server no more."""
        self._selector.unregister(lease)
        with self._guard:
            del self._leases[lease]
        lease.close()
        self._end_unused()

    def _end_unused(self) -> None:
        with self._guard:
            needed = {key for key, _ in self._current.values()} | set(self._leases.values())
            unused = [self._servers.pop(key) for key in self._servers.keys() - needed]
        for server in unused:
            server.close()


class ForkServersClient:
    """A server process's way to the supervisor's fork servers, by the socket that it has inherited."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests

    def lease(self, name: str) -> ForkServerLease:
        """Return the use of the fork server of a computation. Raises `WorkerError` when the supervisor has none."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._requests, [name.encode()], [theirs.fileno()])
            ours.settimeout(ANSWER_S)
            answer, fds, _, _ = socket.recv_fds(ours, 1, 1)
        except OSError as error:
            ours.close()
            raise WorkerError(f"the supervisor lends no fork server: {error}", "restart the service") from error
        if answer != b"\1" or not fds:
            ours.close()
            raise WorkerError(
                "the supervisor has read another version of this plan", "send it SIGHUP when the folder is whole"
            )
        return ForkServerLease(ours, socket.socket(fileno=fds[0]))


class ForkServerLease:
    """The use of a fork server, until `close`."""

    def __init__(self, lease: socket.socket, orders: socket.socket) -> None:
        self._lease, self._orders = lease, orders

    def worker(self, protocol: Protocol, batch: int) -> socket.socket:
        """Return a connection to a new worker. Raises `WorkerError`."""
        return order(self._orders, protocol, batch)

    def close(self) -> None:
        """Give the fork server back; workers that were forked go on with their sessions."""
        self._orders.close()
        self._lease.close()
