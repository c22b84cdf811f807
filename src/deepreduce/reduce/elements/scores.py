"""Scores of single ReLUs: the loss that removing each would cost, estimated from gradients of the training.

Removal moves the element's gate from 1 to 0. For one image with loss L and gate gradient

    g = dL/dgate = dL/dy * (relu(x) - x) = dL/dy * max(-x, 0)

the loss changes by -g + h/2 to second order, h being the gate's curvature, for which the empirical Fisher information
g^2 stands. Over images:

    taylor1 = mean of |g|             (Molchanov et al. 2017, equation 8: the magnitude, image by image, then the mean)
    taylor2 = mean of -g + g^2 / 2

At the end of a training the mean of g is about 0, so that the first order alone says little without its magnitude. A
batch's loss is the mean over its images, so g of one of them is batch size times what its row of gradients gives;
that batch normalization couples the images is neglected.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Order = Literal["taylor1", "taylor2"]


class Scores:
    """Sums over images for the elements [*shape] of one ReLU layer."""

    def __init__(self, shape: torch.Size, order: Order, device: torch.device) -> None:
        self.order = order
        self.sums = torch.zeros(shape, device=device)
        self.images = 0

    @torch.no_grad()
    def watch(self, x: Tensor, gradient: Tensor) -> None:
        """Add a batch: inputs of the ReLUs and gradients of the mean loss at their outputs, both [n, *shape]."""
        g = gradient.float() * x.float().clamp(max=0).neg() * len(x)
        self.sums += (g.abs() if self.order == "taylor1" else g.square() / 2 - g).sum(0)
        self.images += len(x)

    def mean(self) -> Tensor:
        """Return the score of each element, float64 on the CPU; larger is costlier to remove."""
        return self.sums.to("cpu", torch.float64) / max(self.images, 1)

    def clear(self) -> None:
        """Start over."""
        self.sums.zero_()
        self.images = 0
