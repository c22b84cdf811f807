"""Reservation: the server drops its part of a batch before the client may send the image that the batch is for.

client: RESERVE {batch id, transcript};     server: RESERVED {1: the batch is yours, 0: it is not here}

A client that was set back, or copied, names a batch a second time and is told no: it has sent nothing under its masks.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import SessionError
from ...plan import OUTPUT
from ...plan.cost.traffic import RESERVED
from ..protocol.material import ClientMaterial
from ..transport.channel import Channel
from ..transport.frames import Kind
from ..transport.meter import Phase


@dataclass(slots=True)
class Reservation:
    """A batch that the client has dropped, and the server's answer, None until it has come."""

    batch_id: bytes
    material: ClientMaterial
    granted: bool | None = None

    def send(self, channel: Channel) -> None:
        """Ask for the server's part."""
        with channel.meter.phase(Phase()) as phase:
            channel.send(Kind.RESERVE, self.batch_id, self.material.transcript, op=OUTPUT)
        self._book(phase)

    def receive(self, channel: Channel) -> None:
        """Receive the answer. Raises `SessionError` when it is neither yes nor no."""
        with channel.meter.phase(Phase()) as phase:
            answer = channel.receive(Kind.RESERVED, RESERVED, op=OUTPUT)[0]
        self._book(phase)
        if answer > 1:
            raise SessionError("the server sent an answer that is neither yes nor no", "it may be another version")
        self.granted = bool(answer)

    def close(self) -> None:
        """Wipe the material, which is used or lost."""
        self.material.wipe()

    def _book(self, phase: Phase) -> None:
        """Count it with the preparation: it does not depend on the image."""
        cost = self.material.offline.ops[OUTPUT]
        cost.sent_bytes += phase.sent_bytes
        cost.received_bytes += phase.received_bytes
