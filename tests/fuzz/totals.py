"""What fuzzing did: executions, coverage, inputs; of one slice, one run, or all runs so far."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_STATUS = re.compile(r"^#\d+\s.*? cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)
_SLOWEST = re.compile(r"stat::slowest_unit_time_sec:\s+(\d+)")


@dataclass
class Found:
    """``features`` are libFuzzer's: edges, each with how often it was passed; ``broken`` names inputs kept for it."""

    executions: int = 0
    seconds: float = 0.0
    edges: int = 0
    features: int = 0
    inputs: int = 0
    slowest_s: int = 0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.executions / self.seconds if self.seconds else 0
        broken = f", BROKEN by {', '.join(self.broken)}" if self.broken else ""
        return f"{self.executions:,} inputs ({rate:,.0f}/s), {self.edges} edges, {self.features} features{broken}"


def read_log(log: str, seconds: float, broken: list[str]) -> Found:
    """What libFuzzer printed."""
    executed, status, slowest = _EXECUTED.search(log), _STATUS.findall(log), _SLOWEST.search(log)
    edges, features, inputs = map(int, status[-1]) if status else (0, 0, 0)
    count = int(executed[1]) if executed else 0
    return Found(count, seconds, edges, features, inputs, int(slowest[1]) if slowest else 0, broken)


@dataclass
class Totals:
    """By target."""

    targets: dict[str, Found] = field(default_factory=dict)

    def add(self, name: str, found: Found) -> None:
        """Add up executions and seconds; of coverage keep the most that any run saw."""
        total = self.targets.setdefault(name, Found())
        total.executions += found.executions
        total.seconds += found.seconds
        total.edges, total.features = max(total.edges, found.edges), max(total.features, found.features)
        total.inputs = found.inputs or total.inputs
        total.slowest_s = max(total.slowest_s, found.slowest_s)
        total.broken = sorted({*total.broken, *found.broken})

    def blind(self) -> list[str]:
        """Targets whose inputs reached no instrumented code, so that the fuzzer learned nothing from them."""
        return [name for name, one in self.targets.items() if one.executions and not one.edges]

    @classmethod
    def read(cls, path: Path) -> Totals:
        """What earlier runs wrote."""
        if not path.exists():
            return cls()
        return cls({name: Found(**found) for name, found in json.loads(path.read_text()).items()})

    def write(self, path: Path) -> None:
        """For `read`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({name: asdict(found) for name, found in self.targets.items()}, indent=1) + "\n")


def table(totals: Totals) -> str:
    """As Markdown."""
    lines = [
        "| target | executions | a second | edges | features | inputs | slowest |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in sorted(totals.targets.items()):
        rate = one.executions / one.seconds if one.seconds else 0
        lines.append(
            f"| {name} | {one.executions:,} | {rate:,.0f} | {one.edges} | {one.features} | {one.inputs} "
            f"| {one.slowest_s} s |"
        )
    count = sum(one.executions for one in totals.targets.values())
    hours = sum(one.seconds for one in totals.targets.values()) / 3600
    return "\n".join([*lines, "", f"{count:,} executions in {hours:.2f} core hours."])
