"""Accuracy of a network on a split, in all and by class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..data import DataLike, Split, as_split
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


def accuracy(model: nn.Module, split: DataLike, normalize: Normalizer) -> float:
    """Top-1 accuracy in percent on a `Split`, or on what `deepreduce.data.as_split` makes one of."""
    split = as_split(split)
    return 100 * float((predict(model, split, normalize).argmax(1) == split.labels).double().mean())


def confusion_matrix(model: nn.Module, split: Split, normalize: Normalizer, classes: int) -> Tensor:
    """Return how many images of each class (row) were taken for each class (column): int64 [classes, classes]."""
    found = predict(model, split, normalize).argmax(1)
    return torch.bincount(split.labels * classes + found, minlength=classes * classes).reshape(classes, classes)


def class_errors(confusion: Tensor) -> dict[str, list[int | None]]:
    """Return, of each class, its images, how many are right, and the class that most others were taken for, how often.

    That class is None where none is wrong; of equals the first counts.
    """
    wrong = confusion.clone().fill_diagonal_(0)
    most, taken_for = wrong.amax(1), wrong.argmax(1)
    return {
        "images": confusion.sum(1).tolist(),
        "correct": confusion.diagonal().tolist(),
        "taken_for": [k if n else None for k, n in zip(taken_for.tolist(), most.tolist(), strict=True)],
        "taken_for_images": most.tolist(),
    }
