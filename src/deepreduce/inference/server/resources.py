"""What a session may do, and what it needs of its server."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ...plan import Plan
from ..access.access import Access
from ..protocol.linear import OnlineLinear
from ..protocol.program import Program
from ..protocol.server_offline import Offline
from ..transport.channel import Channel
from ..transport.handshake import ClientHello, ServerHello
from ..transport.meter import Run
from .events import Name
from .material_pool import ServerShelf


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session may do: the program for what the client asked, where its material is kept and how much."""

    program: Program
    shelf: ServerShelf
    most_prepared: int
    answer: ServerHello
    client: str  # names the client in the log; says nothing about its identity
    each: int  # bytes of one preparation, predicted


class Host(Protocol):
    """What a session needs of its server."""

    plan: Plan
    plan_bytes: bytes
    linears: dict[str, OnlineLinear]
    threads: int
    access: Access
    idle_s: float
    stopping: bool

    def terms(self, hello: ClientHello, identity: str) -> Terms:
        """What a client that was let in gets. Raises `LimitError` when it asks for too much."""

    def admit(self, address: str) -> None:
        """Books one more preparation of an address. Raises `LimitError` when they come too fast."""

    def book(self, program: Program, count: int) -> None:
        """Books the memory of so many preparations, or gives it back (< 0). Raises `BusyError` when there is none."""

    def place(self) -> AbstractContextManager[None]:
        """A place for one more preparation. Raises `BusyError` when there is none for long."""

    def offline(self, program: Program, channel: Channel) -> Offline:
        """What a session prepares with. Raises `WorkerError`."""

    def offline_bytes(self, program: Program) -> int:
        """At least what a client sends for one preparation."""

    def on_run(self, run: Run) -> None:
        """Takes what an inference cost."""

    def emit(self, name: Name, **fields: Any) -> None:
        """Tells the operator."""
