"""Interface of gradual changes to a network while it is trained."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn


class Gradual(Protocol):
    """Told of every step by `fit`; all it knows is in ``state_dict``, so that a training can be interrupted."""

    @property
    def last_step(self) -> int:
        """The step (from 1) after which the network is what it will be: epochs that end before are no result."""

    def begin(self, model: nn.Module, steps: int) -> None:
        """``model``, on its device, will be trained for ``steps`` steps; a state may be loaded after this."""

    def loss(self, loss: Tensor) -> Tensor:
        """Return what to minimize instead of a batch's ``loss``."""

    def stepped(self, average: nn.Module | None) -> None:
        """A step was made. ``average`` are the model's averaged weights, if it has them."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
