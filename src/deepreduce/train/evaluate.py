"""Accuracy of a network on a split."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..data.dataset import Split
from .augment import Normalizer

BATCH = 500


@torch.no_grad()
def predict(model: nn.Module, split: Split, normalize: Normalizer) -> Tensor:
    """Logits float32 [n, classes] of every image, in evaluation mode, on the split's device."""
    training = model.training
    model.eval()
    logits = [model(normalize(images)).float() for images in torch.split(split.images, BATCH)]
    model.train(training)
    return torch.cat(logits)


def accuracy(model: nn.Module, split: Split, normalize: Normalizer) -> float:
    """Top-1 accuracy in percent."""
    return 100 * float((predict(model, split, normalize).argmax(1) == split.labels).double().mean())
