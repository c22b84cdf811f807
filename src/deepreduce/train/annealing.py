"""How far the ReLUs that a student lacks are still there, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Fading(Protocol):
    """A network's fading ReLUs, c*relu(x) + (1-c)*x (`deepreduce.reduce.fading_relu.Fade`)."""

    def set(self, c: float) -> None:
        """Let ``c`` in [0, 1] be the share of the ReLU from now on."""


@dataclass(frozen=True)
class Annealing:
    """c falls linearly from 1 before the first step to 0 after ``steps`` of them (0: from the beginning)."""

    fading: Fading
    steps: int

    def share(self, step: int) -> float:
        """c after ``step`` steps; a resumed training goes on with the same, since it follows from the number alone."""
        return max(0.0, 1 - step / self.steps) if self.steps else 0.0

    def apply(self, step: int) -> None:
        """Set c to what it is after ``step`` steps."""
        self.fading.set(self.share(step))
