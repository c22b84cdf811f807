"""A ReLU that is annealed to the identity: ``c*relu(x) + (1-c)*x``."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = Literal["relu", "relu6"]


class Anneal:
    """The share c of the ReLU in every fading ReLU of one network: 1 is the ReLU, 0 the identity.

    Copies of the network share it, so that a moving average of the weights fades with the network it follows.
    """

    def __init__(self, c: float = 1.0) -> None:
        self.c = c

    def set(self, c: float) -> None:
        """Let ``c`` in [0, 1] be the share from now on."""
        self.c = c

    def __deepcopy__(self, memo: dict[int, Any]) -> Anneal:
        return self


class AnnealedReLU(nn.Module):
    """``c*relu(x) + (1-c)*x`` of any tensor, with the c of ``fade``; nothing of it is in the ``state_dict``.

    It is exactly the ReLU at c = 1, and exactly its input, at no cost, at c = 0. ``kind`` may be a ReLU6.
    """

    def __init__(self, fade: Anneal, kind: Kind = "relu") -> None:
        super().__init__()
        self.fade = fade
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Pointwise; the same shape."""
        c = self.fade.c
        if c == 0:
            return x
        if self.kind == "relu":
            return F.leaky_relu(x, 1 - c)  # the same function in one pass
        return torch.lerp(x, F.relu6(x), c)

    def extra_repr(self) -> str:
        """Return the kind."""
        return self.kind
