"""Parties that kill themselves (SIGKILL) at a chosen point of their work on a store: for the tests of crashes.

A process of its own, without threads, that forks a party for every line of JSON on its standard input and answers with
lines of JSON: {"port": of a server} and, when the party is no more, {"status": as waitpid says}. Points are counted
before and after every write, sync, lock and removal of a file, every statement of a transaction, and every frame sent;
a write at the point is cut in half.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from deepreduce.errors import DeepReduceError
from deepreduce.inference import Client, Server, ServerSettings
from deepreduce.inference.server.material_pool import ServerStoredPool
from deepreduce.inference.store import database
from deepreduce.inference.transport.channel import Channel
from deepreduce.inference.transport.frames import Kind
from sessions import PLAN, WEIGHTS, X


class Points:
    """Counts, and kills at the chosen number."""

    def __init__(self, at: int) -> None:
        self._at, self._count, self._guard = at, 0, threading.Lock()

    def pass_one(self) -> bool:
        """Whether the next pass is the last."""
        with self._guard:
            self._count += 1
            if self._count == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
            return self._count + 1 == self._at

    def watch(self, owner, name: str) -> None:
        work = getattr(owner, name)

        def watched(*arguments, **settings):
            last = self.pass_one()
            if last and name in ("write", "pwrite"):
                work(arguments[0], arguments[1][: len(arguments[1]) // 2], *arguments[2:])
                self.pass_one()
            result = work(*arguments, **settings)
            self.pass_one()
            return result

        setattr(owner, name, watched)

    def install(self) -> None:
        points = self

        class Connection(sqlite3.Connection):
            def execute(self, *arguments):
                points.pass_one()
                result = super().execute(*arguments)
                points.pass_one()
                return result

        connect = sqlite3.connect
        database.sqlite3.connect = lambda *a, **k: connect(*a, **k, factory=Connection)
        for owner, names in ((os, ("write", "pwrite", "fsync")), (fcntl, ("flock",)), (Path, ("unlink",))):
            for name in names:
                self.watch(owner, name)
        self.watch(Channel, "send")


def note_uses(log: str, party: str) -> None:
    """Writes the id of every batch to ``log`` at the moment that its first online byte may leave."""

    def write(batch_id: bytes) -> None:
        with Path(log).open("ab", buffering=0) as file:
            file.write(f"{party} {batch_id.hex()}\n".encode())

    send, take = Channel.send, ServerStoredPool.take

    reserved = {}

    def client_send(self, kind, *parts, **settings):
        if kind == Kind.RESERVE:
            reserved[self] = parts[0]
        if kind == Kind.INPUT:
            write(reserved[self])
        return send(self, kind, *parts, **settings)

    def server_take(self, batch_id, transcript):
        material = take(self, batch_id, transcript)
        write(batch_id)
        return material

    if party == "client":
        Channel.send = client_send
    else:
        ServerStoredPool.take = server_take


def client(order: dict) -> None:
    note_uses(order["log"], "client")
    Points(order["at"]).install()
    with Client(
        "127.0.0.1", order["port"], protocol="delphi", store=order["store"], timeout_s=5, insecure=True
    ) as party:
        if order["work"] == "prepare":
            party.prepare(1)
        else:
            party.predict_integers(X)


def server(order: dict, port: int) -> None:
    note_uses(order["log"], "server")
    Points(order["at"]).install()
    with Server(PLAN, WEIGHTS, ServerSettings(store=order["store"], timeout_s=5, insecure=True)) as party:
        with os.fdopen(port, "w") as pipe:
            pipe.write(str(party.listen()))
        party.serve_forever()


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with contextlib.suppress(DeepReduceError):
                client(order) if order["work"] != "serve" else server(order, writing)
            os._exit(0)
        os.close(writing)
        if order["work"] == "serve":
            with os.fdopen(reading) as pipe:
                print(json.dumps({"port": int(pipe.read() or 0), "pid": child}), flush=True)
        else:
            os.close(reading)
        print(json.dumps({"status": os.waitpid(child, 0)[1]}), flush=True)


if __name__ == "__main__":
    main()
