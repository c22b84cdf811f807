"""The link measured: the client asks for a few frames of zeros and looks at when they come."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from itertools import pairwise

from ...errors import SessionError
from ...plan.cost import NetworkLink
from .channel import Bytes, Channel
from .frames import HEADER, Kind

FRAME_BYTES = 1 << 13
FEW, MANY = 8, 64  # frames: more than what TCP sends at first; and enough where frames arrive together
FAST = 2e8  # bits per second from which many are asked for
PROBE = 1  # byte of the request: how many
MAX_PROBES = 4  # of a session
PAUSE = 3  # times the median, between frames that did not follow each other
RATES = (1e4, 1e11)  # bits per second


def measure_link(channel: Channel) -> NetworkLink:
    """Return rate (from the server) and round trip. Raises `SessionError`."""
    link = _probe(channel, FEW)
    if link.rate < FAST:
        return link
    again = _probe(channel, MANY)
    return NetworkLink(again.rate, min(link.round_trip, again.round_trip))


def answer_probe(channel: Channel, request: Bytes) -> None:
    """Send the frames that the client asks for. Raises `SessionError` when these are too many."""
    if not 1 <= request[0] <= MANY:
        raise SessionError(f"the client asked for {request[0]} frames of a probe, at most {MANY} are sent")
    for _ in range(request[0]):
        channel.send(Kind.PROBE, bytes(FRAME_BYTES))


def rate_of(arrived: Sequence[float], round_trip: float) -> float:
    """Return bits per second from the seconds at which frames had come.

    Between the bursts of a connection that has just begun (TCP's slow start) nothing comes for the rest of a round
    trip: such pauses do not count.
    """
    waits = [after - before for before, after in pairwise(arrived)]
    pause = max(PAUSE * statistics.median(waits), round_trip / 2)
    steady = [wait for wait in waits if wait <= pause]
    bits, (low, high) = 8 * (HEADER.size + FRAME_BYTES) * len(steady), RATES
    return min(max(bits / max(sum(steady), bits / high), low), high)


def _probe(channel: Channel, frames: int) -> NetworkLink:
    started, arrived = time.perf_counter(), []
    channel.send(Kind.PROBE, bytes([frames]))
    for _ in range(frames):
        channel.receive(Kind.PROBE, FRAME_BYTES)
        arrived.append(time.perf_counter())
    first = arrived[0] - started
    rate = rate_of(arrived, first)
    return NetworkLink(rate, max(first - 8 * FRAME_BYTES / rate, 0.0))  # the first frame's own time is not the link's
