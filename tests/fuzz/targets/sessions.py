"""Whole sessions: an honest party, and one whose frames are edited on the way, in every state of the protocol."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from unittest import mock

import numpy as np

from deepreduce.errors import SessionError
from deepreduce.inference import Client, Server, ServerSettings
from deepreduce.inference.client import connection
from deepreduce.inference.server.session import Session
from deepreduce.inference.transport.channel import Channel
from deepreduce.inference.transport.frames import HEADER, Kind
from deepreduce.plan import run
from fuzz.dealer import dealt_base_transfers
from fuzz.edits import OPERATIONS, edit, edits
from fuzz.sessions_plan import PLAN, WEIGHTS, X
from fuzz.target import target
from fuzz.wire import Wire

TIMEOUT_S = 60.0
EXACT = run(PLAN, WEIGHTS, X)["d"]
FAILED: list[dict[str, object]] = []


@functools.cache
def server() -> Server:
    """One for all sessions: nothing that one does may be seen by the next."""

    def note(name: str, fields: dict[str, object]) -> None:
        if name == "failed":
            FAILED.append(fields)

    return Server(
        PLAN,
        WEIGHTS,
        ServerSettings(timeout_s=TIMEOUT_S, idle_s=TIMEOUT_S, max_prepared=2, insecure=True),
        observers=[note],
    )


def session(edited: int, data: bytes) -> np.ndarray | None:
    """The honest client's answer, or None: its session ended with an error of ours."""
    party, protocol = server().resources, "delphi" if len(data) % 2 else "ot"
    script = edits(data)
    wire = Wire(edited, script)
    channel = Channel(wire.ends[1], "client", TIMEOUT_S)
    thread = threading.Thread(target=Session(party, channel, "192.0.2.1", 1).run, daemon=True)
    FAILED.clear()
    with dealt_base_transfers(), mock.patch.object(connection, "open_stream", lambda target: wire.ends[0]):
        thread.start()
        try:
            with Client("wire", 1, protocol=protocol, timeout_s=TIMEOUT_S, insecure=True) as client:
                client.prepare(1)
                answer = client.predict_integers(X)
        except SessionError:
            answer = None
        finally:
            wire.ends[0].close()
            thread.join(TIMEOUT_S)
    assert not thread.is_alive(), "the server's session goes on"
    assert not FAILED, FAILED
    assert party.ready() == 0
    assert party._memory._booked == 0
    if answer is not None and not script:
        assert np.abs(answer - EXACT).max() <= (0 if protocol == "delphi" else 2**12)
    assert script or answer is not None
    return answer


def script_seeds() -> Iterator[bytes]:
    yield b""
    yield b"\0"
    for frame in range(12):
        yield edit(frame, OPERATIONS[frame % len(OPERATIONS)], 8 + 5 * frame, b"\xff" * (1 + frame % 3))
    yield edit(1, "write", 8, b"\x01" + bytes(31))
    for kind in (Kind.BYE, Kind.PREPARE, Kind.INPUT, Kind.RESULT, Kind.ERROR):
        yield edit(3, "replace", 0, HEADER.pack(kind, 0, 3, 16) + bytes(16))


@target(script_seeds, memory_mb=256, seconds=60, most_bytes=512)
def client_frames(data: bytes) -> None:
    """What a server makes of a client whose frames are damaged."""
    session(0, data)


@target(script_seeds, memory_mb=256, seconds=60, most_bytes=512)
def server_frames(data: bytes) -> None:
    """What a client makes of a server whose frames are damaged."""
    session(1, data)
