"""Both parties of a session in one process, over a connection whose frames are edited on the way.

No sockets and no clocks: when both sides wait for each other, one of them is told at once what a clock would tell it
later, that the other was silent.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from fuzz.edits import Edit

LOOK_S = 0.005


class Wire:
    """Two `End`s, each read by one thread. ``edited`` names the side (0 or 1) whose frames are edited."""

    def __init__(self, edited: int, edits: Sequence[Edit]) -> None:
        self.changed = threading.Condition()
        self.ends = [End(self, side, edits if side == edited else ()) for side in (0, 1)]
        self._readers: set[int] = set()
        self._others = {thread.ident for thread in threading.enumerate()}

    def stalled(self) -> bool:
        """Whether nobody has anything to read and nobody will write: a client sends from a thread of its own."""
        if not all(end.waiting and not end.inbox for end in self.ends):
            return False
        return all(thread.ident in self._others | self._readers for thread in threading.enumerate())

    def reads(self) -> None:
        """The calling thread is one of the two."""
        self._readers.add(threading.get_ident())


class End:
    """A `deepreduce.inference.transport.channel.Stream`."""

    def __init__(self, wire: Wire, side: int, edits: Sequence[Edit]) -> None:
        self.inbox = bytearray()
        self.waiting = self.closed = False
        self._wire, self._side, self._edits, self._sent = wire, side, edits, 0

    def send(self, *parts: Any) -> None:
        """One frame: the channel sends each with one call."""
        frame = b"".join(bytes(part) for part in parts)
        for edit in self._edits:
            if edit.frame == self._sent:
                frame = edit.applied(frame)
        self._sent += 1
        with self._wire.changed:
            peer = self._peer()
            if self.closed or peer.closed:
                raise BrokenPipeError("the other side has left")
            peer.inbox += frame
            self._wire.changed.notify_all()

    def receive_into(self, view: memoryview) -> int:
        """A part, or 0 at the end."""
        with self._wire.changed:
            self.waiting = True
            self._wire.changed.notify_all()
            try:
                peer = self._peer()
                self._wire.reads()
                while not (self.inbox or self.closed or peer.closed):
                    if self._wire.stalled():
                        raise TimeoutError
                    self._wire.changed.wait(LOOK_S)
            finally:
                self.waiting = False
            count = min(len(view), len(self.inbox))
            view[:count] = self.inbox[:count]
            del self.inbox[:count]
            return count

    def readable(self) -> bool:
        """Whether something has come, or the end."""
        return bool(self.inbox) or self._peer().closed

    def set_timeout(self, seconds: float) -> None:
        """There are no clocks here."""

    def close(self) -> None:
        """Ends both directions."""
        with self._wire.changed:
            self.closed = True
            self._wire.changed.notify_all()

    finish = shutdown = close

    def _peer(self) -> End:
        return self._wire.ends[1 - self._side]
