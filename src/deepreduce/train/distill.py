"""Loss of a training: cross-entropy on labels and distillation from a teacher (KD; paper, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from .attention import attention_distance
from .augment import Batch
from .recipe import Recipe


def hard_loss(logits: Tensor, batch: Batch, label_smoothing: float) -> Tensor:
    """Cross-entropy of logits [b, classes] with the labels, shared between both labels of a CutMix batch."""
    loss = F.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
    if batch.other_labels is None:
        return loss
    other = F.cross_entropy(logits, batch.other_labels, label_smoothing=label_smoothing)
    return batch.share * loss + (1 - batch.share) * other


def soft_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) at temperature T, mean over the batch (Hinton et al. 2015)."""
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def objective(
    logits: Tensor,
    batch: Batch,
    recipe: Recipe,
    teacher_logits: Tensor | None,
    maps: Sequence[Tensor] = (),
    teacher_maps: Sequence[Tensor] = (),
) -> Tensor:
    """Return the loss of one batch: hard alone without a teacher, else the recipe's weighted sum of hard and soft.

    Where both networks' activations at the end of each stage are given, the distance of their attention maps is added,
    ``recipe.attention_weight`` times.
    """
    hard = hard_loss(logits, batch, recipe.label_smoothing)
    if teacher_logits is None:
        return hard
    soft = soft_loss(logits, teacher_logits, recipe.kd_temperature)
    loss = recipe.hard_weight * hard + (1 - recipe.hard_weight) * soft
    if not (maps and teacher_maps):
        return loss
    return loss + recipe.attention_weight * attention_distance(maps, teacher_maps)
