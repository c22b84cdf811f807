"""Faults above TLS: a party's own frames are cut, delayed, doubled, reordered or changed, so that parsers meet them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from deepreduce.inference.transport.frames import HEADER, Kind

from .tap import Act, Tap

SHORT_S = (0.02, 0.2)
PIECES = 12
# What the parties compare before anything is used: a change in there is noticed. Not so SETUP, and what is masked and
# sent online: without TLS, whoever can change those makes answers wrong (SECURITY.md).
COMPARED = {Kind.UPLOAD, Kind.RESPONSE, Kind.CHOICES, Kind.GARBLED, Kind.PRODUCTS, Kind.CLAIM, Kind.RESERVE}


def message_fault(name: str, draw: random.Random, timeout_s: float) -> Act:
    """The fault of that name; what it draws comes from ``draw``."""
    work = FAULTS[name]
    return lambda tap, frame: work(tap, frame, draw, timeout_s)


def lost(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    pass


def doubled(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    tap.forward(frame, frame)


def reordered(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    tap.held = bytes(frame)


def repeated(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    """An earlier frame of this connection in its place."""
    own = tap.own()
    tap.forward(draw.choice(own) if own else frame + frame)


def stale(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    """What an earlier session sent at this point: a replay."""
    tap.forward(tap.earlier(frame) or b"")


def delayed(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    time.sleep(draw.uniform(*SHORT_S))
    tap.forward(frame)


def late(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    """Later than the peer waits."""
    time.sleep(timeout_s + 0.5)
    tap.forward(frame)


def trickled(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    """In pieces of unequal length."""
    ends = [*sorted(draw.randrange(len(frame) + 1) for _ in range(PIECES)), len(frame)]
    start = 0
    for end in ends:
        tap.forward(frame[start:end])
        start = end
        time.sleep(0.005)


def cut(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    """The connection ends in the middle."""
    tap.forward(frame[: draw.randrange(len(frame))])
    tap.close()


def stopped(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    """The connection stays, and nothing more comes."""
    tap.forward(frame[: draw.randrange(len(frame))])
    tap.mute = True


def other_kind(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    frame[0] = draw.choice([kind for kind in range(255) if kind != frame[0]])
    tap.forward(frame)


def other_number(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    frame[draw.choice((1, 2, 3))] ^= 1 << draw.randrange(8)
    tap.forward(frame)


def longer(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    extra = draw.randrange(1, 64)
    HEADER.pack_into(frame, 0, *HEADER.unpack_from(frame)[:3], len(frame) - HEADER.size + extra)
    tap.forward(frame, draw.randbytes(extra))


def shorter(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    """A whole frame, of a wrong length; an empty one has to become longer."""
    length = len(frame) - HEADER.size
    if not length:
        return longer(tap, frame, draw, timeout_s)
    fewer = draw.randrange(length)
    HEADER.pack_into(frame, 0, *HEADER.unpack_from(frame)[:3], fewer)
    tap.forward(frame[: HEADER.size + fewer])


def huge(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    HEADER.pack_into(frame, 0, *HEADER.unpack_from(frame)[:3], 0xFFFFFFFF - draw.randrange(256))
    tap.forward(frame)


def cursed(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    """An error frame with any code, and then nothing."""
    tap.forward(HEADER.pack(Kind.ERROR, 0, draw.randrange(1 << 16), 1), bytes([draw.randrange(256)]))
    tap.mute = True


def flipped(tap: Tap, frame: bytearray, draw: random.Random, timeout_s: float) -> None:
    """One bit of what the parties compare."""
    frame[HEADER.size + draw.randrange(len(frame) - HEADER.size)] ^= 1 << draw.randrange(8)
    tap.forward(frame)


FAULTS: dict[str, Callable[[Tap, bytearray, random.Random, float], None]] = {
    "lost": lost,
    "doubled": doubled,
    "reordered": reordered,
    "repeated": repeated,
    "stale": stale,
    "delayed": delayed,
    "late": late,
    "trickled": trickled,
    "cut": cut,
    "stopped": stopped,
    "other kind": other_kind,
    "other number": other_number,
    "longer": longer,
    "shorter": shorter,
    "huge": huge,
    "error code": cursed,
    "flipped": flipped,
}
