"""A ReLU layer of which single elements can be removed: a gate for each decides between ReLU and identity."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Watch = Callable[[Tensor, Tensor], None]  # (input, gradient of the output), both [n, *shape]


class MaskedReLU(nn.Module):
    """``y = x + gate * (relu(x) - x)`` for inputs [n, *shape]: a gate of 1 keeps the element's ReLU, 0 removes it.

    ``gate`` [*shape] is a buffer, so that a network's weights hold its kept set and no optimizer decays it. Anything
    above 0 counts as kept, and forward takes gates for 0 or 1, unless ``learned``: then they enter as real numbers,
    and have gradients if they require them. ``watch``, in training, hears of every batch that is differentiated.
    """

    gate: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("gate", torch.ones(shape))
        self.learned = False
        self.watch: Watch | None = None

    @property
    def kept(self) -> Tensor:
        """Which elements keep their ReLU: bool [*shape]."""
        return self.gate.detach() > 0

    def forward(self, x: Tensor) -> Tensor:
        """Activations [n, *shape]."""
        if self.learned:
            return x + self.gate.to(x.dtype) * (F.relu(x) - x)
        # Filling costs one pass over the activations and keeps a byte of each for the gradient, which is relu's.
        y = x.masked_fill((self.gate > 0) & (x <= 0), 0.0)
        if self.watch is not None and self.training and y.requires_grad:
            _listen(x, y, self.watch)
        return y


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch does not annotate it
def _listen(x: Tensor, y: Tensor, watch: Watch) -> None:
    inputs = x.detach()
    y.register_hook(lambda gradient: watch(inputs, gradient))  # type: ignore[no-untyped-call]  # nor this
