"""What a session may do, and what it needs of its server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ..plan import Plan
from .access import Access
from .events import Name
from .hello import ClientHello, ServerHello
from .linear import ServerLinear
from .meter import Run
from .program import Program
from .shelves import ServerShelf


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
    linears: dict[str, ServerLinear]
    threads: int
    access: Access
    idle_s: float
    stopping: bool

    def terms(self, hello: ClientHello, identity: str) -> Terms:
        """What a client that was let in gets. Raises `LimitError` when it asks for too much."""

    def admit(self, address: str) -> None:
        """Books one more preparation of an address. Raises `LimitError` when they come too fast."""

    def book(self, program: Program, count: int) -> None:
        """Books the memory of so many preparations, or gives it back (< 0). Raises `LimitError` when there is none."""

    def on_run(self, run: Run) -> None:
        """Takes what an inference cost."""

    def emit(self, name: Name, **fields: Any) -> None:
        """Tells the operator."""
