"""Both parties in a process that says what its secrets are and waits to be looked into: for protocol/test_memory.py.

A line of JSON for each stage; a line on the standard input lets it go on. Secrets are named by pieces of 16 to 64
bytes, XORed with a constant so that saying them leaves no copy.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import threading
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from deepreduce.errors import DeepReduceError
from deepreduce.inference import Client
from deepreduce.inference.client import material_pool as client_pool
from deepreduce.inference.server import material_pool
from deepreduce.inference.store.key_wrapping import Wrapping
from deepreduce.plan import Relu, Rescale
from plan_samples import conv, plan_of
from sessions import image, serving, weights_of

VEIL, PIECE = 0xA5, 64
PLAN = plan_of(
    conv("c", "input", 4), Relu("r", ("c",), 4, 26, 2**20), Rescale("s", ("r",), 11, 2**20), conv("d", "s", 2)
)


def noting(owner, party: str, found: dict[str, str]) -> None:
    """Pieces of everything that the shelf is given go to ``found``."""
    put = owner.put

    def noted(self, batch_id, material):
        for name, array in material.plain().arrays.items():
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            first = max(0, len(flat) // 2 - PIECE // 2) // 8 * 8
            # Tables and the hash key came over the network as they are.
            if len(flat) >= 16 and "tables" not in name and not name.endswith("/key"):
                found[f"{party} {name}"] = (flat[first : first + PIECE] ^ np.uint8(VEIL)).tobytes().hex()
            if name.endswith("/delta"):
                array.fill(0)  # a copy, made for this dict
        return put(self, batch_id, material)

    owner.put = noted


def noting_keys(found: dict[str, str]) -> None:
    """The keys of batches, when they are wrapped."""
    wrap = Wrapping.wrap

    def noted(self, secret, bound):
        bound = list(bound)
        if bound[0] == b"batch":
            key = np.frombuffer(secret, np.uint8) ^ np.uint8(VEIL)
            found[f"batch key {len(found)}"] = key.tobytes().hex()
        return wrap(self, secret, bound)

    Wrapping.wrap = noted


def main(protocol: str, ending: str, folder: str) -> None:
    found: dict[str, str] = {}

    def stage(name: str) -> None:
        gc.collect()
        print(json.dumps({"stage": name, "secrets": found}), flush=True)
        sys.stdin.readline()

    def progress(what: str, done: int, total: int) -> None:
        if ending == "broken" and (what, done) == ("predict", 1):
            raise DeepReduceError("in the middle")

    for owner in (
        client_pool.ClientMemoryPool,
        client_pool.ClientStoredPool,
        material_pool.ServerMemoryPool,
        material_pool.ServerStoredPool,
    ):
        noting(owner, owner.__name__[:6].lower(), found)
    noting_keys(found)
    server, client = ({"store": Path(folder) / name} if folder else {} for name in ("server", "client"))
    x = image(PLAN, np.random.default_rng(3))
    with serving(PLAN, weights_of(PLAN), **server) as (_, port):
        party = Client("127.0.0.1", port, protocol=protocol, on_progress=progress, insecure=True, **client)
        party.prepare(1)
        stage("prepared")
        if ending != "unused":
            with contextlib.suppress(DeepReduceError):
                party.predict_integers(x)
            stage("used")
        party.close()
    for thread in threading.enumerate():  # the session's, which holds its keys until it ends
        if thread is not threading.main_thread():
            thread.join(20)
    stage("closed")


if __name__ == "__main__":
    main(*sys.argv[1:])
