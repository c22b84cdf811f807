"""What many runs came to: totals, coverage, time limits, and whether all is as it must be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .frames import frames
from .outcome import LIMIT_S, TIMEOUT_S, Outcome
from .schedule import ANY, FAMILIES, PROTOCOLS, Cell, matrix

WARM_UP = 100  # runs of a process before its memory is compared
GROWTH_BYTES = 16 << 20  # of memory that a process may have gained since then


@dataclass
class Summary:
    """Takes outcomes one by one."""

    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    memory: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))  # a process's RSS after each run
    used: int = 0  # batches used by clients on the wire
    reused: int = 0

    def add(self, outcome: Outcome, process: int, rss_bytes: int) -> None:
        """One run, in which process, and the memory of that process afterwards."""
        self.outcomes.append(outcome)
        self.memory[process].append(rss_bytes)
        self.reused += sum("used twice" in text for text in outcome.failures)

    def failed(self) -> list[Outcome]:
        """Runs after which something was not as it must be."""
        return [outcome for outcome in self.outcomes if outcome.failures]

    def missing(self, cells: Iterable[Cell] | None = None) -> list[Cell]:
        """Cells of the matrix that no run has met."""
        met = {outcome.schedule.cell for outcome in self.outcomes if outcome.applied}
        return [cell for cell in (matrix() if cells is None else cells) if cell not in met]

    def growth(self) -> list[int]:
        """Bytes that each process has gained since its warm-up; of those that have run for long enough."""
        return [rss[-1] - rss[WARM_UP] for rss in self.memory.values() if len(rss) > 2 * WARM_UP]

    def to_json(self) -> dict[str, Any]:
        """Everything that the page shows, as numbers."""
        return {
            "seed": self.seed,
            "runs": len(self.outcomes),
            "applied": sum(o.applied for o in self.outcomes),
            "failed": [{"schedule": o.schedule.to_json(), "failures": o.failures} for o in self.failed()],
            "repeated_on_a_busy_machine": sum(o.late for o in self.outcomes),
            "batches_used": self.used,
            "batches_used_twice": self.reused,
            "cells": len(matrix()),
            "cells_missed": [str(cell) for cell in self.missing()],
            "memory_growth_bytes": self.growth(),
            "families": {name: self._family(name) for name in FAMILIES},
            "coverage": {" / ".join(key): dict(count) for key, count in self._coverage().items()},
            "errors": dict(Counter(_kind_of(o.error) for o in self.outcomes if o.error).most_common()),
        }

    def _family(self, name: str) -> dict[str, dict[str, Any]]:
        found: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in self.outcomes:
            if outcome.schedule.cell.family == name and outcome.applied:
                found[outcome.schedule.cell.fault].append(outcome)
        return {fault: _counts(outcomes) for fault, outcomes in found.items()}

    def _coverage(self) -> dict[tuple[str, str, str], Counter[str]]:
        """For every side, state and kind of frame: how many runs of each family met it."""
        result: dict[tuple[str, str, str], Counter[str]] = {cell: Counter() for cell in _frame_cells()}
        for outcome in self.outcomes:
            cell = outcome.schedule.cell
            if outcome.applied and cell.state != ANY:
                result[cell.side, cell.state, cell.kind][cell.family] += 1
        return result

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """(title, headers, rows) of the page."""
        data = self.to_json()
        headers = ["fault", "runs", "exact answer", "clear error", "killed", "slowest s, asking", "slowest s, server"]
        totals = [["all", *(_shown(value) for value in _counts([o for o in self.outcomes if o.applied]).values())]]
        totals += [
            [f"{family}: {fault}", *(_shown(value) for value in counts.values())]
            for family, faults in data["families"].items()
            for fault, counts in faults.items()
        ]
        columns = [family for family in FAMILIES if family not in ("point", "command")]
        cells = defaultdict(list)
        for cell in matrix():
            cells[cell.side, cell.state, cell.kind, cell.family].append(cell)
        met = Counter(o.schedule.cell for o in self.outcomes if o.applied)
        coverage = [
            [f"{side}: {state}, {kind}"]
            + [_met([met[cell] for cell in cells[side, state, kind, family]]) for family in columns]
            for side, state, kind in data_cells(data)
        ]
        return [("Faults", headers, totals), ("Coverage", ["frame of", *columns], coverage)]


def data_cells(data: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(side, state, kind), as in the coverage of `Summary.to_json`."""
    return [tuple(key.split(" / ")) for key in data["coverage"]]  # type: ignore[misc]


def _frame_cells() -> list[tuple[str, str, str]]:
    every = [f for protocol in PROTOCOLS for known in (False, True) for f in frames(protocol, known)]
    return list(dict.fromkeys(f.cell for f in sorted(every, key=lambda f: f.side)))


def _counts(outcomes: list[Outcome]) -> dict[str, Any]:
    ended = Counter(o.ended for o in outcomes)
    slowest = [
        max((s for o in outcomes if o.ended != "exact" and (s := getattr(o, name)) is not None), default=None)
        for name in ("client_s", "server_s")
    ]
    return {
        "runs": len(outcomes),
        "exact": ended["exact"],
        "error": ended["error"],
        "killed": ended["killed"],
        "client_s": slowest[0],
        "server_s": slowest[1],
    }


def _met(counts: list[int]) -> str:
    """Runs, and how many of the faults there are have been met."""
    return f"{sum(counts)} ({sum(c > 0 for c in counts)}/{len(counts)})" if counts else "-"


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else f"{value:,}"


def _kind_of(text: str) -> str:
    """An error without its numbers and paths."""
    head = text.partition(" (")[0]
    return " ".join("#" if any(c.isdigit() for c in word) or "/" in word else word for word in head.split())


ABOUT = f"""Each run harms one thing once while a client connects, prepares and predicts, on real sockets over
loopback with real stores. A party waits {TIMEOUT_S:g} s for its peer; both sides must have ended, with one line, within
{LIMIT_S:g} s of the fault (two time limits, two lingers of a second, and a machine that is busy with other work). After
every run both stores are read and compared, the ledger of what was used on the wire is compared with both, the next
prediction through a fresh connection must equal the integer reference bit for bit,
and threads and descriptors must be as many as before. docs/operate/faults.md says what each fault is."""
