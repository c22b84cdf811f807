"""What happens in a run: drawn from a seed and the run's number, so that every run can be repeated alone.

The matrix of cells (family of faults, fault, side, state, kind of frame) is gone through in an order that the seed
shuffles, so that every cell is met once in as many runs as there are cells; all else is drawn.
"""

from __future__ import annotations

import functools
import random
from dataclasses import asdict, astuple, dataclass
from typing import Any

from deepreduce.inference.transport.frames import Kind

from .frames import Frame, frame_at, frames
from .messages import COMPARED, FAULTS as MESSAGE_FAULTS
from .party import KILLS, PAUSES
from .relay import ANY_STREAM, TLS_ONLY

PROTOCOLS = ("delphi", "ot")
CLOCKS = ("clock forwards", "clock backwards", "sleep")
DISKS = ("disk full", "file limit")
PROCESS_CLOCKS = ("clock forwards", "clock backwards")
FAMILIES = ("message", "wire", "kill", "point", "command", "pause", "disk", "clock", "clock of a process")
TENTHS = 10  # of a party's life, for deaths that are not at a frame
MOST_POINTS = 130  # that a party passes on the way, about


ANY = "any"


@dataclass(frozen=True, slots=True)
class Cell:
    """What coverage is counted by. ``state`` `ANY`: at no frame; then ``kind`` is the tenth of its life."""

    family: str
    fault: str
    side: str
    state: str
    kind: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run. ``cell``: which fault, whose frame. ``which``: of several frames of the cell. ``seed``: for all else."""

    cell: Cell
    protocol: str
    tls: bool
    stored: bool  # prepared for a store; then the client knows the plan
    which: int
    seed: int

    @property
    def frame(self) -> Frame:
        """The frame at which it happens."""
        return frame_at(self.protocol, self.stored, (self.cell.side, self.cell.state, self.cell.kind), self.which)

    def to_json(self) -> dict[str, Any]:
        """For files."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Schedule:
        """The other way."""
        return Schedule(**{**data, "cell": Cell(**data["cell"])})


@functools.cache
def matrix() -> tuple[Cell, ...]:
    """All cells that can be met, sorted: frames of the two sides are recorded in an order that changes."""
    found = {}
    for protocol in PROTOCOLS:
        for known in (False, True):
            for frame in frames(protocol, known):
                for family, fault in _faults(frame):
                    found[Cell(family, fault, *frame.cell)] = None
    for side in ("client", "server"):
        for tenth in range(TENTHS):
            found[Cell("point", "killed at a point of its store", side, ANY, str(tenth))] = None
            found[Cell("command", "killed at any time", side, ANY, str(tenth))] = None
    return tuple(sorted(found, key=astuple))


def draw(seed: int, run: int) -> Schedule:
    """The run of that number."""
    cells = list(matrix())
    random.Random(f"order {seed} {run // len(cells)}").shuffle(cells)
    return drawn(cells[run % len(cells)], random.Random(f"run {seed} {run}"))


def drawn(cell: Cell, source: random.Random) -> Schedule:
    """A run of the cell."""
    while True:
        schedule = Schedule(
            cell,
            source.choice(PROTOCOLS),
            cell.fault in TLS_ONLY or cell.family == "command" or source.random() < 0.5,
            cell.family in ("point", "command", "disk") or source.random() < 0.6,
            source.randrange(1 << 16),
            source.randrange(1 << 62),
        )
        if cell.state == ANY or any(
            frame.cell == (cell.side, cell.state, cell.kind) for frame in frames(schedule.protocol, schedule.stored)
        ):
            return schedule


def expected(schedule: Schedule) -> str:
    """How the party that asks must fare: "exact", "error", or "either"."""
    cell = schedule.cell
    if cell.family in ("clock", "clock of a process"):
        return "either" if cell.fault == "sleep" else "exact"
    if cell.family == "disk":
        return "either"
    if cell.fault in ("delayed", "trickled", "shredded", "paused"):
        return "exact"
    if cell.state == ANY:
        return "error" if (cell.family, cell.side) == ("command", "server") else "either"
    frame = schedule.frame
    if frame.kind == Kind.BYE:
        return "exact"  # the answer is there already
    if cell.family in ("kill", "wire", "pause"):
        return "either" if frame.last else "error"
    return "either" if frame.last and cell.fault in ("doubled", "longer", "late") else "error"


def _faults(frame: Frame) -> list[tuple[str, str]]:
    found = [("message", name) for name in MESSAGE_FAULTS if _applies(name, frame)]
    found += [("wire", name) for name in (*ANY_STREAM, *TLS_ONLY)]
    found += [("kill", name) for name in KILLS] + [("pause", name) for name in PAUSES]
    found += [("clock", name) for name in CLOCKS]
    found += [("clock of a process", name) for name in PROCESS_CLOCKS]
    if frame.kind != Kind.PLAN:  # a client with a store has it
        found += [("disk", name) for name in DISKS]
    return found


def _applies(name: str, frame: Frame) -> bool:
    if name in ("stale", "flipped"):
        return frame.kind in COMPARED
    return not (name == "repeated" and frame.number == 0)
