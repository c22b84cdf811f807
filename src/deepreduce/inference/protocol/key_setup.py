"""Keys of a connection, agreed before its first preparation: OT extensions in both directions, homomorphic keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _core
from ...errors import SessionError
from ...plan import Plan
from ...plan.cost.traffic import BASE_OTS, OT_SETUP, POINT
from ..transport.channel import Channel, Wire
from ..transport.frames import Kind
from ..zeroize import wiping

K = 4  # SoftSpoken's tree depth: 4 bytes per transfer (AGREEMENT)


SETUP = "set-up"  # what the keys are booked under, as if it were an op


@dataclass(slots=True)
class Keys:
    """Both directions of the OT extension. State moves forward only; it ends with the connection."""

    ot: Any  # the direction of the labels: the server is sender
    reverse: Any  # of the products: the client is sender
    he: Any


def setup_request_bytes(ring_bits: int) -> int:
    """Return the content of the first SETUP frame."""
    return POINT + int(_core.he_parameters(ring_bits)["public_key_bytes"])


def client_keys(channel: Channel, plan: Plan) -> Keys:
    """Return the client's steps 2 and 3."""
    from ..protocol.base_ot import BaseReceiver, BaseSender  # libsodium is for those who prepare

    he = _core.HeClient(plan.ring.ring_bits)
    sender = BaseSender()
    channel.send(Kind.SETUP, sender.message, he.public_key(), op=SETUP)
    answer = channel.receive(Kind.SETUP, BASE_OTS * POINT + POINT, op=SETUP).tobytes()
    both, delta = sender.keys(answer[: BASE_OTS * POINT]), _core.Delta.random()
    bits = delta.bits()
    base = BaseReceiver(answer[BASE_OTS * POINT :], bits)
    with wiping(both, bits, base.keys):
        ot = _core.OtReceiver(K, both)
        channel.send(Kind.SETUP, np.ascontiguousarray(ot.set_up), base.message, op=SETUP)
        reverse = _core.OtSender(K, delta, base.keys, channel.receive(Kind.SETUP, OT_SETUP, op=SETUP))
    return Keys(ot, reverse, he)


def server_keys(channel: Wire, plan: Plan, request: NDArray[np.uint8]) -> Keys:
    """Return the server's steps 2 and 3, for the content of the first SETUP frame."""
    from ..protocol.base_ot import BaseReceiver, BaseSender

    try:
        he = _core.HeServer(plan.ring.ring_bits, request[POINT:].tobytes())
    except ValueError as error:
        raise SessionError(f"the client's public key cannot be used: {error}") from None
    delta = _core.Delta.random()
    bits = delta.bits()
    base, sender = BaseReceiver(request[:POINT].tobytes(), bits), BaseSender()
    with wiping(bits, base.keys):
        channel.send(Kind.SETUP, base.message, sender.message, op=SETUP)
        answer = channel.receive(Kind.SETUP, OT_SETUP + BASE_OTS * POINT, op=SETUP)
        ot = _core.OtSender(K, delta, base.keys, np.ascontiguousarray(answer[:OT_SETUP]))
    both = sender.keys(answer[OT_SETUP:].tobytes())
    with wiping(both):
        reverse = _core.OtReceiver(K, both)
    channel.send(Kind.SETUP, np.ascontiguousarray(reverse.set_up), op=SETUP)
    return Keys(ot, reverse, he)
