"""Annealing schedule of the ReLUs that a student loses."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn


class AnnealedReLUs(Protocol):
    """The ReLUs of a network that are annealed away: c*relu(x) + (1-c)*x (`deepreduce.reduce.annealed_relu.Anneal`)."""

    def set(self, c: float) -> None:
        """Let ``c`` in [0, 1] be the share of the ReLU from now on, in the network and in its copies."""


class Annealing:
    """c falls linearly from 1 before the first step to 0 over ``share`` of all steps (0: it is 0 from the beginning).

    A `deepreduce.train.gradual.Gradual`: a resumed training goes on with the same c, which follows from the number of
    the step alone.
    """

    def __init__(self, relus: AnnealedReLUs, share: float) -> None:
        self.relus, self.share = relus, share
        self.last_step = self.step = 0

    def begin(self, model: nn.Module, steps: int) -> None:
        """Set c for the first step."""
        self.last_step = round(self.share * steps)
        self._set()

    def loss(self, loss: Tensor) -> Tensor:
        """Return the loss as it is."""
        return loss

    def stepped(self, average: nn.Module | None) -> None:
        """Set c for the next step, and for what is judged now."""
        self.step += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the last step."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.step = state["step"]
        self._set()

    def _set(self) -> None:
        self.relus.set(max(0.0, 1 - self.step / self.last_step) if self.last_step else 0.0)
