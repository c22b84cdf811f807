"""Keys of a connection, agreed before its first preparation: OT extensions in both directions, homomorphic keys.

Base transfers are made for one direction. The base transfers of any other extension are transfers of one that runs the
other way (docs/reference/protocol.md, "Set-up"): at set-up the reverse direction, and for every batch of `delphi` the
labels' direction, whose Delta is then this batch's alone.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _core
from ...errors import SessionError
from ...plan import INPUT, Plan, packing_levels
from ...plan.cost.traffic import BASE_ANSWER, BASE_CHOICES, BASE_CIPHERTEXTS, BASE_OTS, BASE_REQUEST, OT_SETUP
from ..transport.channel import Channel, Wire
from ..transport.frames import Kind
from ..zeroize import wipe, wiping

K = 4  # SoftSpoken's tree depth: 4 bytes per transfer (AGREEMENT)
SETUP = "set-up"  # what the keys are booked under, as if it were an op
Bytes = NDArray[np.uint8]


@dataclass(slots=True)
class Keys:
    """Both directions of the OT extension. State moves forward only; it ends with the connection."""

    ot: Any  # the direction of the labels: the server is sender
    reverse: Any  # of the products: the client is sender
    he: Any


def setup_request_bytes(plan: Plan) -> int:
    """Return the content of the first SETUP frame."""
    sizes = _core.he_parameters(plan.ring.ring_bits)
    keys = len(packing_levels(plan)) * sizes["packing_key_bytes"]
    return BASE_REQUEST + int(sizes["public_key_bytes"]) + int(keys)


def client_keys(channel: Channel, plan: Plan) -> Keys:
    """Return the client's steps 2 and 3."""
    from ..protocol.base_ot import BaseSender, check_supported  # libsodium is for those who prepare

    check_supported()
    he = _core.HeClient(plan.ring.ring_bits)
    base = BaseSender()
    channel.send(Kind.SETUP, base.message, he.public_key(), he.packing_keys(packing_levels(plan)), op=SETUP)
    both, ciphertexts = base.keys(channel.receive(Kind.SETUP, BASE_ANSWER, op=SETUP).tobytes())
    with wiping(both):
        ot = _core.OtReceiver(K, both)
    with closing(OppositeSender(ot, b"")) as opposite:
        channel.send(Kind.SETUP, ciphertexts, np.ascontiguousarray(ot.set_up), opposite.correction, op=SETUP)
        return Keys(ot, opposite.finish(channel.receive(Kind.SETUP, OT_SETUP, op=SETUP)), he)


def server_keys(channel: Wire, plan: Plan, request: Bytes) -> Keys:
    """Return the server's steps 2 and 3, for the content of the first SETUP frame."""
    from ..protocol.base_ot import BaseReceiver

    try:
        he = _core.HeServer(plan.ring.ring_bits, request[BASE_REQUEST:].tobytes(), packing_levels(plan))
    except ValueError as error:
        raise SessionError(f"the client's keys cannot be used: {error}") from None
    delta = _core.Delta.random()
    with wiping(bits := delta.bits()):
        base = BaseReceiver(request[:BASE_REQUEST].tobytes(), bits)
    with closing(base):
        channel.send(Kind.SETUP, base.message, op=SETUP)
        answer = channel.receive(Kind.SETUP, BASE_CIPHERTEXTS + OT_SETUP + BASE_CHOICES, op=SETUP)
        ciphertexts, trees, correction = np.split(answer, [BASE_CIPHERTEXTS, BASE_CIPHERTEXTS + OT_SETUP])
        keys = base.keys(ciphertexts.tobytes())
    with wiping(keys):
        ot = _core.OtSender(K, delta, keys, np.ascontiguousarray(trees))
    reverse = opposite_receiver(ot, correction, b"")
    channel.send(Kind.SETUP, np.ascontiguousarray(reverse.set_up), op=SETUP)
    return Keys(ot, reverse, he)


def client_batch_labels(channel: Channel, keys: Keys, batch_id: bytes) -> _core.OtReceiver:
    """Return the labels' direction of one batch, for which the server has drawn a Delta."""
    correction = channel.receive(Kind.GARBLED, BASE_CHOICES, op=INPUT)
    labels = opposite_receiver(keys.reverse, correction, batch_id)
    channel.send(Kind.CHOICES, np.ascontiguousarray(labels.set_up), op=INPUT)
    return labels


def server_batch_labels(channel: Wire, keys: Keys, batch_id: bytes) -> _core.OtSender:
    """Return the labels' direction of one batch, under a fresh Delta."""
    with closing(OppositeSender(keys.reverse, batch_id)) as opposite:
        channel.send(Kind.GARBLED, opposite.correction, op=INPUT)
        return opposite.finish(channel.receive(Kind.CHOICES, OT_SETUP, op=INPUT))


class OppositeSender:
    """Sender of a new extension, made by the receiver of one that runs the other way.

    The bits of a fresh Delta choose among 128 of its transfers. ``correction``: the message for the other side.
    """

    def __init__(self, ot: _core.OtReceiver, context: bytes) -> None:
        self._delta = _core.Delta.random()
        blocks = np.empty(BASE_OTS * 16, np.uint8)
        with wiping(bits := self._delta.bits(), packed := np.packbits(bits, bitorder="little"), blocks):
            self.correction = ot.extend(packed, blocks)
            self._keys = np.empty((BASE_OTS, 16), np.uint8)
            _hash_into(self._keys, blocks.reshape(BASE_OTS, 16), context)

    def finish(self, set_up: Bytes) -> _core.OtSender:
        """Return the new extension's sender, from its receiver's trees."""
        return _core.OtSender(K, self._delta, self._keys.reshape(-1), np.ascontiguousarray(set_up))

    def close(self) -> None:
        """Wipe the keys."""
        wipe(self._keys)


def opposite_receiver(ot: _core.OtSender, correction: Bytes, context: bytes) -> _core.OtReceiver:
    """Return the receiver of a new extension, made by the sender of one that runs the other way."""
    zero = ot.extend(BASE_OTS, np.ascontiguousarray(correction)).reshape(BASE_OTS, 16)
    offset = ot.delta.to_bytes()
    one, keys = zero ^ offset, np.empty((BASE_OTS, 2, 16), np.uint8)
    with wiping(zero, one, offset, keys):
        for side, blocks in enumerate((zero, one)):
            _hash_into(keys[:, side], blocks, context)
        return _core.OtReceiver(K, keys.reshape(-1))


def _hash_into(keys: Bytes, blocks: Bytes, context: bytes) -> None:
    """Write the base transfers' keys, uint8 [128, 16], of transfers' blocks (correlation-robust: SHA-256)."""
    for i, block in enumerate(blocks):
        digest = hashlib.sha256(b"deepreduce opposite OT" + context + bytes([i]))
        digest.update(block)
        keys[i] = np.frombuffer(digest.digest()[:16], np.uint8)
