"""A whole service that tells all it can, with everything going wrong: for protocol/test_nothing_secret_is_told.py.

Everything is logged at DEBUG, every exception is printed with its causes, events and counters and costs are written
down. On the standard output, which is not searched, is JSON of the secrets in hexadecimal.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import traceback
import urllib.request
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from deepreduce.inference import Client, client_context, server_context
from deepreduce.inference.client import material_pool as client_pool
from deepreduce.inference.server import material_pool, session
from deepreduce.inference.server.events import JsonLines
from deepreduce.inference.server.metrics import Metrics
from deepreduce.inference.server.monitoring import MonitoringServer
from deepreduce.inference.store import ClientStore
from deepreduce.inference.store.key_wrapping import Wrapping
from deepreduce.inference.transport.channel import Channel
from sessions import PLAN, WEIGHTS, image, serving

TOKEN = "open sesame, and quickly"
PIECE = 24
secrets: dict[str, str] = {}


def note(name: str, content: bytes) -> None:
    if len(content) >= 16:
        first = max(0, len(content) // 2 - PIECE // 2) // 8 * 8
        secrets[name] = content[first : first + PIECE].hex()


def watch() -> None:
    """Notes masks, labels, Deltas and keys as they come to be."""
    for owner in (
        client_pool.ClientStoredPool,
        material_pool.ServerStoredPool,
        client_pool.ClientMemoryPool,
        material_pool.ServerMemoryPool,
    ):
        put = owner.put

        def noted(self, batch_id, material, put=put, owner=owner):
            for name, array in material.plain().arrays.items():
                note(f"{owner.__name__} {batch_id.hex()} {name}", np.ascontiguousarray(array).tobytes())
            return put(self, batch_id, material)

        owner.put = noted
    wrap = Wrapping.wrap

    def noting_wrap(self, secret, bound):
        bound = list(bound)
        note(f"wrapped {len(secrets)} {bound[0]!r}", bytes(secret))
        return wrap(self, secret, bound)

    Wrapping.wrap = noting_wrap


@contextlib.contextmanager
def expected(what: str):
    """An error must come, and is printed as whole as Python can."""
    try:
        yield
    except Exception as error:
        traceback.print_exception(error)
        logging.getLogger("deepreduce").error("%s: %s %r", what, error, error, exc_info=error)
        return
    raise AssertionError(f"{what}: nothing was wrong")


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _no_material(channel: object, program: object, material: Any, operand: Any, *others: object) -> None:
    """Fail as a fault of the server's would, with secrets at hand."""
    material[operand]


def work(folder: Path, counters: Metrics, protocol: str) -> None:
    tls = {"tls": server_context(folder / "server.pem", folder / "server.key")}
    events = (folder / "events.json").open("a")
    observe = [counters.observe, lambda name, fields: events.write(json.dumps([name, fields]) + "\n") and None]
    asks = {"tls": client_context(folder / "ca.pem"), "token": TOKEN, "protocol": protocol, "timeout_s": 20.0}
    x = image(PLAN, np.random.default_rng(int.from_bytes(os.urandom(8))), bound=2**30)
    note(f"image {protocol}", x.tobytes())
    send = Channel.send
    with serving(PLAN, WEIGHTS, token=TOKEN, store=folder / "server", observers=observe, **tls) as (_, port):
        with expected("a wrong token"):
            Client("127.0.0.1", port, **{**asks, "token": "open barley, and quickly"})
        with expected("no TLS"):
            Client("127.0.0.1", port, **{**asks, "tls": None, "insecure": True, "timeout_s": 2.0})
        store = ClientStore(folder / "client")
        note("identity", store.identity("127.0.0.1"))
        note("secret of the store", bytes(store._secret))
        with Client("127.0.0.1", port, **asks, store=store) as client:
            client.prepare(4)
            client.predict_integers(x)
            (folder / "runs.txt").write_text(repr(list(client.runs)))  # what run.json is made from
            logging.getLogger("deepreduce").debug("%r %r %r %r", client, client.runs, client.target, store)
            damage(min((folder / "client" / "batches").iterdir()))
            damage(min((folder / "server" / "batches").iterdir()))
            for _ in range(3):  # one is damaged here, one there
                with contextlib.suppress(Exception):
                    client.predict_integers(x)
                client.reconnect()
            client.prepare(1)

            def cut(self, kind, *parts, **settings):
                if kind.name == "ANSWERS":
                    self.abort()
                return send(self, kind, *parts, **settings)

            Channel.send = cut
            with expected("a cut session"):
                client.predict_integers(x)
            Channel.send = send
        with expected("a fault of ours"), Client("127.0.0.1", port, **asks) as client:
            client.prepare(1)
            client._pool._batches[next(iter(client._pool._batches))].vectors.clear()
            client.predict_integers(x)
        with expected("a fault of the server's"), Client("127.0.0.1", port, **asks) as client:
            client.prepare(1)
            with patch.object(
                session, "predict_online", lambda channel, program, material, operand, *others: material[operand]
            ):
                client.predict_integers(x)
        store.close()
        with expected("a closed store"):
            store.claim_next(None)
        monitoring = MonitoringServer("127.0.0.1", 0, counters, lambda: None)
        page = urllib.request.urlopen(f"http://127.0.0.1:{monitoring.port}/metrics", timeout=20)
        (folder / "metrics.txt").write_bytes(page.read())
        monitoring.close()
    events.close()


def main(folder: Path, leak: str) -> None:
    logger = logging.getLogger()
    logger.setLevel(logging.DEBUG)
    for formatter in (JsonLines(), logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s")):
        handler = logging.StreamHandler()
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    watch()
    counters = Metrics()
    for protocol in ("ot", "delphi"):
        work(folder, counters, protocol)
        counters = Metrics()
    if leak:  # a planted one
        logger.debug("the identity is %s", bytes.fromhex(secrets["identity"]).hex())
    print(json.dumps(secrets))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
