"""One measured run, from DIR/runs: what each operation took, predicted and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .json_fields import Fields, read_json

LINEAR = ("Conv", "Linear")
NON_LINEAR = ("Relu", "MaxPool", "Rescale")
REST = "between them"
_BYTES = ("down_bytes", "up_bytes", "predicted_down_bytes", "predicted_up_bytes")


@dataclass(frozen=True)
class PhaseShare:
    """One operation's part of a phase: seconds, and bytes down and up."""

    seconds: float
    predicted_seconds: float
    down_bytes: int
    up_bytes: int
    predicted_down_bytes: int
    predicted_up_bytes: int

    @property
    def bytes(self) -> int:
        """Both ways."""
        return self.down_bytes + self.up_bytes

    @property
    def predicted_bytes(self) -> int:
        """Both ways."""
        return self.predicted_down_bytes + self.predicted_up_bytes

    @classmethod
    def read(cls, f: Fields) -> PhaseShare:
        """Read ``online`` or ``offline`` of an element of ``ops``."""
        return cls(
            f.number("seconds"),
            f.number("predicted_seconds"),
            f.count("down_bytes"),
            f.count("up_bytes"),
            f.count("predicted_down_bytes"),
            f.count("predicted_up_bytes"),
        )


@dataclass(frozen=True)
class Operation:
    """``kind`` is the op's class, or Input or Output."""

    name: str
    kind: str
    relus: int
    online: PhaseShare
    offline: PhaseShare

    @property
    def group(self) -> str:
        """Linear, non-linear, or what belongs to no operation."""
        if self.kind in LINEAR:
            return "linear"
        return "non-linear" if self.kind in NON_LINEAR else "other"

    def phase(self, name: str) -> PhaseShare:
        """``online`` or ``offline``."""
        return self.online if name == "online" else self.offline

    @classmethod
    def read(cls, f: Fields) -> Operation:
        """Read one element of ``ops``."""
        return cls(
            f.text("name"),
            f.text("op"),
            f.count("relus"),
            PhaseShare.read(f.child("online")),
            PhaseShare.read(f.child("offline")),
        )


@dataclass(frozen=True)
class ReportedRun:
    """A run's operations in the order of computation, and the seconds of its phases, more than the operations' sum."""

    operations: tuple[Operation, ...]
    online_s: float
    offline_s: float

    def timed(self, phase: str) -> tuple[Operation, ...]:
        """Return the operations, with everything that belongs to none as the last: what a party does between them."""
        named = [op for op in self.operations if op.group != "other"]
        others = [op.phase(phase) for op in self.operations if op.group == "other"]
        whole = self.online_s if phase == "online" else self.offline_s
        left = max(0.0, whole - sum(op.phase(phase).seconds for op in named))
        rest = PhaseShare(
            left,
            sum(share.predicted_seconds for share in others),
            *(sum(getattr(share, name) for share in others) for name in _BYTES),
        )
        return (*named, Operation(REST, "", 0, rest, rest))

    @classmethod
    def read(cls, f: Fields) -> ReportedRun:
        """Read the object of a run file."""
        return cls(
            f.objects("ops", Operation.read), f.child("online").number("seconds"), f.child("offline").number("seconds")
        )


def read_run(directory: Path, file: str) -> ReportedRun:
    """Return the run in ``directory/runs/file``. Raises `StoreError` naming what is wrong with the file."""
    return ReportedRun.read(read_json(directory / "runs" / file))
