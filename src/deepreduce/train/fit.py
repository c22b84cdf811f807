"""The training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..data import DataLike, Split, as_dataset
from ..errors import TrainingError
from .augment import Augmenter
from .checkpoint import read_checkpoint, write_checkpoint
from .distill import objective
from .evaluate import accuracy
from .gradual import Gradual
from .onednn import has_functional_convolutions, safe_strided_convolutions
from .recipe import Recipe

Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


@dataclass(frozen=True)
class Epoch:
    """One epoch: the rate it began with, accuracies in percent (training: on augmented images), wall seconds.

    While ReLUs fade, the validation accuracy is that of the network as it is at the end of the epoch.
    ``test_accuracy`` is there for comparison with papers that chose epochs by it; nothing here is.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_accuracy: float
    seconds: float
    test_accuracy: float | None = None


@dataclass(frozen=True)
class Result:
    """Result of a training: the weights of the epoch that did best on the validation split, and the curve."""

    weights: dict[str, Tensor]
    best_epoch: int
    validation_accuracy: float
    history: tuple[Epoch, ...]


def fit(
    model: nn.Module,
    data: DataLike,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    teacher: nn.Module | None = None,
    gradual: Sequence[Gradual] = (),
    tap: Callable[[nn.Module], nn.Module] | None = None,
    checkpoint: Path | None = None,
    watched: Split | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Result:
    """Train ``model`` in place on ``data.train`` and return the weights of its best validation epoch.

    With a ``teacher`` the loss distills from it; both see the same augmented images. ``tap`` turns a network into one
    that answers (logits, activations) with the same weights, which ``recipe.attention_weight`` needs. What ``gradual``
    changes in the model it has changed for good before the best epoch: earlier ones do not count. With a ``checkpoint``
    path the state is saved after every epoch and a later call with the same arguments goes on from there. All
    randomness follows from ``(seed, epoch)``, so an interrupted training ends with the same weights as an uninterrupted
    one on the same device and thread count. The accuracy on ``watched`` is noted after each epoch and decides nothing.
    Raises `TrainingError` when the loss is no longer a number.
    """
    data = as_dataset(data)
    device = torch.device(device)
    if device.type == "cpu" and recipe.channels_last and has_functional_convolutions(model):
        recipe = replace(recipe, channels_last=False)  # see onednn.py
    augmenter = Augmenter(data.train.to(device), data.mean, data.std, recipe)
    validation = data.validation.to(device)
    memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
    model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]  # torch leaves this form out
    if teacher is not None:
        teacher.to(device=device, memory_format=memory_format).eval()  # type: ignore[call-overload]  # torch leaves this form out
    steps = batches_per_epoch(recipe.images_per_epoch(len(data.train)), recipe.batch_size)
    optimizer = make_optimizer(model, recipe)
    scheduler = make_scheduler(optimizer, recipe, steps)
    average = make_average(model, recipe)
    forward, reference = model, teacher
    if tap is not None and teacher is not None and recipe.attention_weight:
        forward, reference = tap(model), tap(teacher)
    if recipe.compile:
        forward = torch.compile(forward)  # type: ignore[assignment]  # a module in, a module out
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    if average is not None:
        parts["average"] = average
    for index, change in enumerate(gradual):
        change.begin(model, recipe.epochs * steps)
        parts[f"gradual{index}"] = change
    first = max([1, *(math.ceil(change.last_step / steps) for change in gradual)])  # epoch that may be the best
    saved = read_checkpoint(checkpoint, parts) if checkpoint else None
    history = [Epoch(**record) for record in saved["history"]] if saved else []
    best: dict[str, Tensor] = saved["best"] if saved else {}

    for epoch in range(len(history) + 1, recipe.epochs + 1):
        started = time.perf_counter()
        generator = epoch_generator(seed, epoch, device)
        rate = float(scheduler.get_last_lr()[0])
        with safe_strided_convolutions(model, device):
            loss, train_score = train_epoch(parts, forward, augmenter, reference, generator, steps, gradual)
        judged = model if average is None else average.module
        with autocast(device, recipe):
            score = accuracy(judged, validation, augmenter.normalize)
            seen = None if watched is None else accuracy(judged, watched.to(device), augmenter.normalize)
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is {loss} in epoch {epoch}", "lower the learning rate")
        history.append(Epoch(epoch, rate, loss, train_score, score, time.perf_counter() - started, seen))
        if history[-1] is _best(history, first):
            best = {key: value.detach().cpu().clone() for key, value in judged.state_dict().items()}
        if checkpoint:
            write_checkpoint(checkpoint, parts, history=[asdict(record) for record in history], best=best)
        if on_epoch:
            on_epoch(history[-1])

    model.load_state_dict(best)
    top = _best(history, first)
    assert top is not None  # the last epoch counts in any case
    return Result(best, top.epoch, top.validation_accuracy, tuple(history))


def _best(history: Sequence[Epoch], first: int) -> Epoch | None:
    """Return the best epoch from ``first`` on, the latest of equals; None before there is one."""
    settled = [record for record in history if record.epoch >= first]
    return max(settled, key=lambda record: (record.validation_accuracy, record.epoch), default=None)


def train_epoch(
    parts: Mapping[str, Any],
    forward: nn.Module,
    augmenter: Augmenter,
    teacher: nn.Module | None,
    generator: torch.Generator,
    steps: int,
    gradual: Sequence[Gradual] = (),
) -> tuple[float, float]:
    """Return one pass over an epoch's images in ``steps`` batches: (mean loss, accuracy in percent on what was seen).

    ``parts`` are the model, optimizer, scheduler and, where there is one, the average; ``forward`` is the model or its
    compiled form, ``gradual`` what changes it. It and ``teacher`` answer logits, or (logits, activations).
    """
    average: AveragedModel | None = parts.get("average")
    model, recipe, device = parts["model"], augmenter.recipe, augmenter.labels.device
    images = len(augmenter.labels)
    order = torch.randperm(images, generator=generator, device=device)[: recipe.images_per_epoch(images)]
    batches = torch.split(order, recipe.batch_size)[:steps]
    loss_sum, correct = torch.zeros((), device=device), torch.zeros((), device=device)
    model.train()
    for indices in batches:
        batch = augmenter.batch(indices, generator)
        with autocast(device, recipe):
            logits, maps = _answer(forward, batch.images)
            with torch.no_grad():
                known, known_maps = (None, ()) if teacher is None else _answer(teacher, batch.images)
        loss = objective(logits.float(), batch, recipe, None if known is None else known.float(), maps, known_maps)
        parts["optimizer"].zero_grad(set_to_none=True)
        minimized = loss
        for change in gradual:
            minimized = change.loss(minimized)
        minimized.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        parts["optimizer"].step()
        parts["scheduler"].step()
        if average is not None:
            average.update_parameters(model)
        for change in gradual:
            change.stepped(None if average is None else average.module)
        loss_sum += loss.detach() * len(indices)
        correct += (logits.detach().argmax(1) == batch.labels).sum()
    seen = sum(map(len, batches))
    return float(loss_sum) / seen, 100 * float(correct) / seen


def _answer(network: nn.Module, images: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
    """Logits, and activations if ``network`` is a tapped one."""
    answer = network(images)
    return answer if isinstance(answer, tuple) else (answer, ())


def batches_per_epoch(images: int, batch_size: int) -> int:
    """Batches that one pass makes; a last batch of a single image is left out (it has no variance to normalize by)."""
    full, rest = divmod(images, batch_size)
    return max(1, full + (rest > 1))


def epoch_generator(seed: int, epoch: int, device: torch.device) -> torch.Generator:
    """Return the augmentation's generator for one epoch; also seeds torch's own, which dropout uses."""
    combined = (seed * 1_000_003 + epoch) % 2**63
    torch.manual_seed(combined)
    return torch.Generator(device=device).manual_seed(combined)


def autocast(device: torch.device, recipe: Recipe) -> AbstractContextManager[Any]:
    """bfloat16 where the recipe asks for it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """SGD with momentum, or AdamW; weight decay on every parameter, as in the paper's code base."""
    parameters = list(model.parameters())
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        parameters,
        recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
    )


def make_scheduler(optimizer: Optimizer, recipe: Recipe, steps: int) -> lr_scheduler.LRScheduler:
    """Return the recipe's schedule, to be stepped after every batch (``steps`` of them per epoch)."""
    total = recipe.epochs * steps
    if recipe.schedule == "step":
        return lr_scheduler.StepLR(optimizer, recipe.step_epochs * steps, recipe.step_factor)
    if recipe.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, total)
    # One step beyond the end, because the loop steps once after the last batch; a rise of at least half a step.
    total += 1
    rise = max(recipe.warmup, 1.5 / total)
    return lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total, pct_start=rise, cycle_momentum=False)


def make_average(model: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """Return the exponential moving average of weights and buffers, if the recipe has one.

    Its decay after t steps is at most (1 + t) / (10 + t): a short training does not average over its beginning.
    """
    if not recipe.ema_decay:
        return None

    def update(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        t = int(average.n_averaged)  # on the CPU, unlike count: nothing waits for the device
        decay = min(recipe.ema_decay, (1 + t) / (10 + t))
        get_ema_multi_avg_fn(decay)(averaged, current, count)  # type: ignore[no-untyped-call]

    average = AveragedModel(copy.deepcopy(model), multi_avg_fn=update, use_buffers=True)
    return average
