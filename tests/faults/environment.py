"""Where runs take place: long-lived servers, stores on small disks, processes, clocks, and the ledger."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme

from deepreduce.inference import Client, Server, ServerSettings, client_context, server_context

from . import noise
from .commands import Commands
from .frames import frames
from .host_faults import Clocks, FullDisk, faketime_library, limit_files, small_disk
from .network import DIGEST, PLAN, WEIGHTS, X
from .outcome import CLEAN_S, LIMIT_S
from .parties import Parties
from .relay import Relay
from .schedule import Schedule, matrix
from .tap import tapped

SERVER_BYTES, CLIENT_BYTES = 24 << 20, 16 << 20  # of a server's store, and of one client's part
SETTLE_S = 0.3  # for threads of the first session to end


class World:
    """A context manager. A store of each side lies at ``folder / side / name``: "plain" and "tls" are those of the two
    ``servers`` that live as long as the world, "process" and "command" those of servers that do not.

    ``mounted``: whether the disks are file systems of their own. ``used``: the ledger, by side. ``events``: the
    servers', since it was cleared. ``handshake``: TLS records of each side before its first frame.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        memory = Path("/dev/shm")
        base = memory if os.access(memory, os.W_OK) else None
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-", dir=base)))
        self.used: dict[str, list[bytes]] = {"client": [], "server": []}
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.log = self.folder / "parties.log"
        self._reopened = False

    def __enter__(self) -> Self:
        enter, close = self._stack.enter_context, self._stack.callback
        sides = ("client", "server")
        mounted = [enter(small_disk(self.folder / side)) for side in sides]
        self.mounted = all(mounted)
        self.disks = {side: FullDisk(self.folder / side) for side in sides}
        self._certify()
        self.commands = Commands(self.folder)
        self.heard = enter(noise.listening())
        matrix()  # before anything taps
        self.wiring = enter(tapped(self.note))
        self.clocks = Clocks()
        close(self.clocks.close)
        self.parties = Parties(self.log)
        close(self.parties.close)
        self.clock_parties = Parties(self.log, clock=True) if faketime_library() else None
        if self.clock_parties is not None:
            close(self.clock_parties.close)
        self.servers = {name: enter(self._server(name)) for name in ("plain", "tls")}
        self.handshake = self._handshake_records()
        time.sleep(SETTLE_S)
        self.baseline = resources()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def rss_bytes(self) -> int:
        """Memory of this process, which is that of the long-lived servers."""
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def note(self, side: str, batch_id: bytes) -> None:
        """Into the ledger."""
        self.used[side].append(batch_id)

    def patience(self, seconds: float) -> None:
        """How long the long-lived servers wait for clients that connect from now on."""
        for server, _ in self.servers.values():
            server.settings = server.resources.settings = replace(server.settings, timeout_s=seconds, idle_s=seconds)

    def client(self, schedule: Schedule, name: str, port: int, timeout_s: float, stored: bool | None = None) -> Client:
        """Connects."""
        stored = schedule.stored if stored is None else stored
        return Client(
            "127.0.0.1",
            port,
            protocol=schedule.protocol,  # type: ignore[arg-type]
            tls=self._client_tls if schedule.tls and not self._reopened else None,
            insecure=not schedule.tls or self._reopened,
            pin=DIGEST if stored else None,
            store=self.folder / "client" / name if stored else None,
            timeout_s=timeout_s,
        )

    @contextlib.contextmanager
    def serving(self, name: str) -> Iterator[int]:
        """The port of a long-lived server, or of one (without TLS) that reopens the store of a process."""
        if name in self.servers:
            yield self.servers[name][1]
            return
        self._reopened = True
        try:
            with self._server(name) as (_, port):
                yield port
        finally:
            self._reopened = False

    def settled(self, name: str) -> bool:
        """Waits until the long-lived server has no session any more."""
        limit = time.monotonic() + LIMIT_S
        sessions = self.servers[name][0]._sockets if name in self.servers else ()
        while sessions and time.monotonic() < limit:
            time.sleep(0.002)
        return not sessions

    def restore(self) -> None:
        """Disks, files and clocks as they were; nothing more will happen."""
        self.wiring.injection = None
        for disk in self.disks.values():
            disk.empty()
        limit_files(None)

    @contextlib.contextmanager
    def _server(self, name: str) -> Iterator[tuple[Server, int]]:
        with Server(
            PLAN,
            WEIGHTS,
            ServerSettings(
                tls=self._server_tls if name == "tls" else None,
                insecure=name != "tls",
                store=self.folder / "server" / name,
                timeout_s=CLEAN_S,
                idle_s=CLEAN_S,
                max_stored_bytes=SERVER_BYTES,
                max_client_bytes=CLIENT_BYTES,
            ),
            observers=(lambda event, fields: self.events.append((event, fields)),),
        ) as server:
            port = server.listen()
            thread = server.start()
            yield server, port
        thread.join()

    def _handshake_records(self) -> dict[str, int]:
        port, sides = self.servers["tls"][1], ("client", "server")
        with Relay(port, True, None) as relay:
            with Client("127.0.0.1", relay.port, tls=self._client_tls, protocol="delphi") as client:
                client.prepare(1)
                client.predict_integers(X)
            self.settled("tls")
            time.sleep(SETTLE_S)
            whole = {s: sum(f.records for f in frames("delphi", False) if f.side == s) for s in sides}
            return {side: relay.units[side] - whole[side] for side in sides}

    def _certify(self) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        names = {key: self.folder / f"{key}.pem" for key in ("authority", "certificate", "key")}
        authority.cert_pem.write_to_path(names["authority"])
        issued.cert_chain_pems[0].write_to_path(names["certificate"])
        issued.private_key_pem.write_to_path(names["key"])
        self._client_tls = client_context(names["authority"])
        self._server_tls = server_context(names["certificate"], names["key"])


def resources() -> tuple[int, int]:
    """Threads and descriptors of this process."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
