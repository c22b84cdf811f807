"""What each side sends in a whole session, frame by frame, and in which state of its peer's parser it arrives."""

from __future__ import annotations

import functools
import tempfile
from collections import Counter
from dataclasses import dataclass

from deepreduce.inference import Client, Server, ServerSettings
from deepreduce.inference.transport.channel import Channel
from deepreduce.inference.transport.frames import HEADER, Kind

from .network import DIGEST, PLAN, WEIGHTS, X

RECORD = 1 << 14  # bytes of plain text in a TLS record, at most


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: who sends it, as its how manieth, what it is, its length, and how many TLS records it fills.

    ``state``: what the receiver is doing. ``last``: nothing that the answer needs comes after it from this side.
    """

    side: str
    number: int
    kind: Kind
    state: str
    length: int
    records: int
    last: bool = False

    @property
    def cell(self) -> tuple[str, str, str]:
        """(side, state, kind): what coverage is counted by."""
        return self.side, self.state, self.kind.name


@functools.cache
def frames(protocol: str, known: bool) -> tuple[Frame, ...]:
    """Both sides' frames of connect, prepare(1), predict, close. ``known``: the client has the plan."""
    sent: list[tuple[str, Kind, str, int]] = []
    send = Channel.send

    def watched(self: Channel, kind: Kind, *parts: bytes, op: str = "", background: bool = False) -> None:
        side = "client" if self._peer == "server" else "server"
        sent.append((side, kind, op, HEADER.size + sum(map(len, parts))))
        send(self, kind, *parts, op=op, background=background)

    with tempfile.TemporaryDirectory() as store, Server(PLAN, WEIGHTS, ServerSettings(insecure=True)) as server:
        port = server.listen()
        server.start()
        if known:
            Client("127.0.0.1", port, store=store, insecure=True).close()
        Channel.send = watched  # type: ignore[method-assign]
        try:
            with Client(
                "127.0.0.1", port, protocol=protocol, store=store if known else None, pin=DIGEST, insecure=True
            ) as client:
                client.prepare(1)
                client.predict_integers(X)
        finally:
            Channel.send = send  # type: ignore[method-assign]
    return tuple(_numbered(sent))


def frame_at(protocol: str, known: bool, cell: tuple[str, str, str], which: int) -> Frame:
    """One of the frames of a cell."""
    found = [frame for frame in frames(protocol, known) if frame.cell == cell]
    return found[which % len(found)]


def records_before(protocol: str, known: bool, frame: Frame) -> int:
    """TLS records with frames of this side before this one."""
    return sum(f.records for f in frames(protocol, known) if f.side == frame.side and f.number < frame.number)


def _numbered(sent: list[tuple[str, Kind, str, int]]) -> list[Frame]:
    count: Counter[object] = Counter()
    result: list[Frame] = []
    answers = [i for i, one in enumerate(sent) if one[1] == Kind.ANSWERS]
    for index, (side, kind, op, length) in enumerate(sent):
        count[side, kind] += 1
        last = kind in (Kind.RESULT, Kind.BYE) or index == answers[-1]
        state, records = _state(kind, op, count[side, kind]), -(-length // RECORD)  # a tap sends a frame in one piece
        result.append(Frame(side, count[side], kind, state, length, records, last))
        count[side] += 1
    return result


def _state(kind: Kind, op: str, nth: int) -> str:
    match kind:
        case Kind.HELLO | Kind.PLAN:
            return "greeting"
        case Kind.SETUP:
            return f"set-up {nth}"
        case Kind.UPLOAD | Kind.RESPONSE | Kind.CHOICES | Kind.GARBLED | Kind.PRODUCTS:
            return f"prepare {op}"
        case Kind.CLAIM:
            return "claim"
        case Kind.RESERVE | Kind.RESERVED:
            return "reserve"
        case Kind.INPUT:
            return "online input"
        case Kind.LABELS | Kind.ANSWERS:
            return f"level {nth} {op}"
        case Kind.RESULT:
            return "result"
        case _:
            return "between requests"
