"""What each party sees of many predictions, byte for byte: for the distinguishers.

The two images and the two sets of weights are as different as the promise allows. The sets of weights are one network
with its hidden channels in another order: every image has the same answer under both, so the client's whole view, with
the answer that it is meant to learn, must not tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import numpy as np

from deepreduce.inference import Client, Server, ServerSettings
from deepreduce.inference.protocol.linear import Decrypted
from deepreduce.inference.protocol.nonlinear.table_client import TableClient
from deepreduce.inference.protocol.nonlinear.vector import part, unpack
from deepreduce.inference.transport.channel import Channel
from deepreduce.inference.transport.frames import Kind
from deepreduce.plan import Relu
from deepreduce.plan.serialization import weight_tensors
from plan_samples import conv, plan_of

HIDDEN = 4
PLAN = plan_of(conv("c", "input", HIDDEN), Relu("r", ("c",), 4, 26, 2**20), conv("d", "r", 1))
SECRET_OF = {"server": "image", "client": "weight"}  # what a party must not learn
# What both know: echoes of the batch's id and of the transcript's hash, and the hellos.
PUBLIC = {"CLAIM", "RESERVE", "RESERVED", "PREPARE", "HELLO", "PLAN", "BYE"}
Pieces = dict[str, bytes]  # of one party's view, by kind of message


def images() -> np.ndarray:
    """[2, 1, C, H, W]: nothing, and everything."""
    return np.stack([np.zeros((1, *PLAN.input_shape), np.int64), np.full((1, *PLAN.input_shape), 16, np.int64)])


def weights() -> list[dict[str, np.ndarray]]:
    """Two sets with one function: small and large channels change places."""
    rng = np.random.default_rng(5)
    one = {name: rng.integers(-99, 99, shape).astype(dtype) for name, (dtype, shape) in weight_tensors(PLAN).items()}
    one["c.weight"][: HIDDEN // 2] //= 32
    one["c.bias"] = np.abs(one["c.bias"]) * np.array([1, 2, 300, 400], one["c.bias"].dtype)
    other = dict(one)
    for name in ("c.weight", "c.bias"):
        other[name] = np.ascontiguousarray(one[name][::-1])
    other["d.weight"] = np.ascontiguousarray(one["d.weight"][:, ::-1])
    return [one, other]


@dataclass
class View:
    """One party's: the frames that it received, in order, and what it made of them."""

    frames: list[tuple[str, str, bytes]] = field(default_factory=list)

    def shape(self) -> list[tuple[str, str, int]]:
        """Kinds, ops and lengths."""
        return [(kind, op, len(content)) for kind, op, content in self.frames]

    def pieces(self) -> Pieces:
        """All bytes of a kind together."""
        kinds = dict.fromkeys(kind for kind, _, _ in self.frames)
        return {kind: b"".join(c for k, _, c in self.frames if k == kind) for kind in kinds}


@contextmanager
def watching() -> Iterator[dict[str, View]]:
    """What the parties of this process receive while the block runs, by party; `clear` it between predictions."""
    views = {"client": View(), "server": View()}
    header, content = Channel._header, Channel._content
    output, answer = Decrypted.output, TableClient.answer

    def watched_header(self):
        found = header(self)
        self.last_kind = Kind(found[0]).name
        return found

    def watched_content(self, length, op):
        found = content(self, length, op)
        views["client" if self._peer == "server" else "server"].frames.append((self.last_kind, op, found.tobytes()))
        return found

    def watched_output(self):  # W r - s, as the client decrypts it
        found = output(self)
        views["client"].frames.append(("decrypted", "", found.tobytes()))
        return found

    def watched_answer(self, number, chunk, content):  # the element that the client opens, without its own mask
        found = answer(self, number, chunk, content)
        if number < self.vector.rounds - 1:
            return found
        opened = unpack(found, chunk.padded, self.vector.ring_bits) + part(self.mask, chunk)
        opened &= np.uint64(2**self.vector.ring_bits - 1)
        views["client"].frames.append(("opened", "", opened.astype(np.uint32).tobytes()))
        return found

    with ExitStack() as stack:
        for owner, name, new in (
            (Channel, "_header", watched_header),
            (Channel, "_content", watched_content),
            (Decrypted, "output", watched_output),
            (TableClient, "answer", watched_answer),
        ):
            stack.enter_context(patch.object(owner, name, new))
        yield views


def clear(views: dict[str, View]) -> dict[str, View]:
    """What there was."""
    found = dict(views)
    views.update(client=View(), server=View())
    return found


@dataclass
class Seen:
    """Views of ``count`` predictions: whose image and whose weights each was of (0 or 1)."""

    image: np.ndarray
    weight: np.ndarray
    views: dict[str, list[View]]

    def classes(self, party: str) -> np.ndarray:
        """[count] which of the two secrets of the other party each prediction was with."""
        return getattr(self, SECRET_OF[party])


def strings(views: list[View]) -> dict[str, np.ndarray]:
    """uint8 [n, length] by kind of message."""
    pieces = [view.pieces() for view in views]
    kinds = [kind for kind in pieces[0] if kind not in PUBLIC]
    return {kind: np.stack([np.frombuffer(one[kind], np.uint8) for one in pieces]) for kind in kinds}


def predictions(protocol: str, count: int, rng: np.random.Generator, *, sessions: bool = False) -> Seen:
    """Both parties' views of so many predictions, half of them of each image, and half under each set of weights.

    ``sessions``: each on a connection of its own, whose set-up is in the view; otherwise two connections serve all.
    ``rng`` orders them, and gives nothing to the protocol.
    """
    bits = [rng.permutation(np.arange(count) % 2) for _ in range(2)]
    seen = Seen(*bits, {"client": [], "server": []})
    inputs = images()
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(PLAN, w, ServerSettings(insecure=True))) for w in weights()]
        ports = [server.listen() for server in servers]
        for server in servers:
            server.start()
        clients: dict[int, Client] = {}
        views = stack.enter_context(watching())
        for image, weight in zip(*bits, strict=True):
            if sessions or weight not in clients:
                clients[weight] = stack.enter_context(
                    Client("127.0.0.1", ports[weight], protocol=protocol, insecure=True)
                )
                if not sessions:
                    clients[weight].prepare(1)  # and with it the set-up
                    clients[weight].predict_integers(inputs[image])
                    clear(views)
            clients[weight].prepare(1)
            clients[weight].predict_integers(inputs[image])
            if sessions:
                clients[weight].close()
            for party, view in clear(views).items():
                seen.views[party].append(view)
    return seen
