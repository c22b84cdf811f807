"""Export of a trained network, or of a frontier's point, to a plan and weights, with the accuracy that it costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import DataLike, as_dataset, as_samples, as_split, load
from ..data.dataset import Dataset, Split
from ..errors import DataError, DeepReduceError, SettingError, nearest
from ..lowering.ir import Lowered, convs
from ..lowering.lower import lower
from ..networks.network import Network
from ..plan import LINK_RATE, Plan, digest, pictures_of, weights_digest
from ..plan.preprocessing import normalized_by
from ..plan.validation import MAX_WEIGHT_BITS
from ..progress import Progress, no_progress
from ..search.frontier import Frontier, TrainedNetwork
from ..train.augment import Normalizer
from ..train.evaluate import accuracy as float_accuracy
from . import evaluate as plans
from .folder import write_folder
from .merging.merge import merge_ops
from .quantization.precision import RingBits, quantized
from .quantization.quantize import ACTIVATION_BITS, Weights
from .quantization.rescales import with_rescales

CALIBRATION_IMAGES = 128
SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Exported:
    """A plan and its weights, and what is known about them.

    ``convs_before`` and ``convs_after`` count linear ops before and after merging; accuracies are percent on ``images``
    pictures of ``split``, None where nothing was evaluated; ``notices`` are sentences that the user must see.
    """

    plan: Plan
    weights: Weights
    convs_before: int
    convs_after: int
    float_accuracy: float | None
    quantized_accuracy: float | None
    images: int
    split: str | None
    notices: tuple[str, ...]
    seconds: float
    source: dict[str, Any] = field(default_factory=dict)  # what it was made of: model, point, data ...

    @property
    def difference(self) -> float | None:
        """Quantized minus float accuracy, in points."""
        if self.float_accuracy is None or self.quantized_accuracy is None:
            return None
        return self.quantized_accuracy - self.float_accuracy

    def write(self, folder: Path | str) -> list[Path]:
        """Write plan.json, weights.safetensors and export.json, whole or not at all. Raises `StoreError`."""
        return write_folder(Path(folder), self.plan, self.weights, self.facts())

    def facts(self) -> dict[str, Any]:
        """Return the content of export.json: everything but the plan and the weights."""
        weight_bits = max((getattr(op, "weight_bits", 0) for op in self.plan.ops), default=0)
        return {
            "format": 1,
            **self.source,
            "plan_digest": digest(self.plan),
            "weights_digest": weights_digest(self.weights),
            "ring_bits": self.plan.ring.ring_bits,
            "weight_bits": weight_bits,
            "convs": {"before": self.convs_before, "after": self.convs_after},
            "accuracy": {
                "float": self.float_accuracy,
                "quantized": self.quantized_accuracy,
                "difference": self.difference,
                "images": self.images,
                "split": self.split,
            },
            "seconds": self.seconds,
            "notices": list(self.notices),
        }


def export_network(
    network: Network,
    calibration: DataLike,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: Sequence[str] = (),
    merge: bool = True,
    link_rate: int = LINK_RATE,
    ring_bits: RingBits = "auto",
    weight_bits: int = MAX_WEIGHT_BITS,
    activation_bits: int = ACTIVATION_BITS,
    input_fraction: int | None = None,
    evaluate: DataLike | None = None,
    split: str | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Return the plan of a trained ``network`` and its integer weights.

    ``calibration`` are pictures uint8 [n, C, H, W], which ``mean`` and ``std`` (of the 0..1 scale) normalize, or real
    inputs [n, C, H, W] as the network takes them (then the plan takes arrays, not pictures); also a torch data set or
    loader, a list of arrays, or PIL images (`deepreduce.data.as_samples`). ``evaluate`` is the split of pictures,
    called ``split``, whose accuracy is measured in floating point and in the plan's integers. ``merge`` composes linear
    ops where that makes them cheaper over a link of ``link_rate`` bits per second, for which the plan also lays out its
    ciphertexts. ``input_fraction``: the fractional bits that inputs are rounded to; None: as many as the samples need.
    Raises `ModelError` for what no plan can have, `PlanError` where no ring will do.
    """
    started = time.perf_counter()
    report: Progress = progress or no_progress
    report("lower and merge", 0, 1)
    lowered, before, after = lowered_of(network, merge=merge, link_rate=link_rate)
    pixels = as_samples(calibration)
    evaluate = None if evaluate is None else as_split(evaluate)
    pictures = None
    if pixels.dtype == np.uint8:
        shape = (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
        if shape != network.input_shape:
            raise DataError(f"the pictures are {_by(shape)}, the network takes {_by(network.input_shape)}")
        if mean is None or std is None:
            raise SettingError("pictures need a mean and a std to be normalized by", "give those of the training")
        pictures = pictures_of(shape, tuple(mean), tuple(std), tuple(classes))
        inputs = normalized_by(pictures, lowered.input_shape, pixels)
    elif pixels.shape[1:] != lowered.input_shape:
        raise DataError(f"the arrays are {_by(pixels.shape[1:])}, the network takes {_by(lowered.input_shape)}")
    else:
        inputs = pixels.astype(np.float64)
    plan, weights, notices = quantized(
        lowered, inputs, ring_bits, weight_bits, activation_bits, input_fraction, link_rate, progress
    )
    if shape_known := pictures is not None and pictures.shape[0] in (1, 3):
        plan = replace(plan, pictures=pictures)
    elif pictures is not None:
        notices = (*notices, f"pictures of {pictures.shape[0]} channels are unknown to clients: they must send arrays")
    exact = quantized_score = None
    if evaluate is not None and len(evaluate) and shape_known and mean is not None and std is not None:
        report("evaluate the network", 0, 1)
        normalizer = Normalizer(tuple(mean), tuple(std), torch.device("cpu"), channels_last=False)
        exact = float_accuracy(network, evaluate, normalizer)
        quantized_score = plans.accuracy(
            plan, weights, evaluate.images.numpy(), evaluate.labels.numpy(), progress=progress
        )
    images = 0 if exact is None or evaluate is None else len(evaluate)
    notices = (*network.left_out, *notices)
    return Exported(
        plan,
        weights,
        before,
        after,
        exact,
        quantized_score,
        images,
        split if images else None,
        notices,
        time.perf_counter() - started,
    )


def export_point(
    frontier: Frontier,
    network: str | int | TrainedNetwork,
    *,
    evaluate: int | None = None,
    split: str = "validation",
    merge: bool = True,
    link_rate: int = LINK_RATE,
    data: DataLike | None = None,
    ring_bits: RingBits = "auto",
    weight_bits: int = MAX_WEIGHT_BITS,
    activation_bits: int = ACTIVATION_BITS,
    progress: Progress | None = None,
) -> Exported:
    """`export_network` of a ``network`` that a search trained: its record (``frontier.best()``), its name, or its
    position on the frontier.

    ``data`` is the data that the search used: loaded by its name and seed when it is not given, and refused when its
    digest is another. ``evaluate`` images of ``split`` are evaluated: None means all, 0 none. Calibration takes images
    of the training split. Raises `PointError`, `DataError` and what `export_network` raises.
    """
    if split not in SPLITS:
        raise SettingError(f"unknown split {split!r}", nearest(split, SPLITS))
    trained = network if isinstance(network, TrainedNetwork) else frontier[network]
    data = frontier_data(frontier, data)
    check_digest(frontier, data)
    exported = export_network(
        frontier.module(trained),
        calibration_images(data),
        mean=data.mean,
        std=data.std,
        classes=data.classes,
        merge=merge,
        link_rate=link_rate,
        ring_bits=ring_bits,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        evaluate=spread(getattr(data, split), evaluate),
        split=split,
        progress=progress,
    )
    settings = frontier.content["settings"]
    source = {"model": settings["model"], "point": trained.name, "data": data.name, "job": trained.job}
    return replace(exported, source=source, notices=(*data.notices, *exported.notices))


def lowered_of(network: Network, *, merge: bool = True, link_rate: int = LINK_RATE) -> tuple[Lowered, int, int]:
    """Return a network's ops, ready to be quantized, and how many of them were linear before and after merging."""
    lowered = lower(network)
    before = convs(lowered)
    if merge:
        lowered = merge_ops(lowered, link_rate=link_rate)
    return with_rescales(lowered), before, convs(lowered)


def calibration_images(data: DataLike, count: int = CALIBRATION_IMAGES) -> NDArray[np.uint8]:
    """Pictures of the training split, spread evenly over it: never of a split that accuracy is measured on."""
    images: NDArray[np.uint8] = spread(as_dataset(data).train, count).images.numpy()
    return images


def spread(split: Split, count: int | None) -> Split:
    """``count`` images of a split, evenly spaced; all of them for None or more than there are."""
    if count is not None and count < 0:
        raise SettingError(f"{count} images cannot be evaluated", "give a number, 0 for none")
    if count is None or count >= len(split):
        return split
    return split.take(torch.div(torch.arange(count) * len(split), max(count, 1), rounding_mode="floor"))


def frontier_data(frontier: Frontier, data: DataLike | None = None) -> Dataset:
    """Return the data of a search: ``data`` if given, else by their name; by its seed, share of validation images and
    normalization.

    A search of an earlier version has not written its share down: then likely ones are tried.
    """
    content, settings = frontier.content["data"], frontier.content["settings"]
    share = content.get("validation_share")
    if data is not None:
        given = as_dataset(data, seed=settings["seed"], validation=0.1 if share is None else share)
        return normalized_as(frontier, given)
    guess = content["validation"] / (content["train"] + content["validation"])
    shares = (share,) if share is not None else (0.1, round(guess, 2), round(guess, 3), guess)
    size = tuple(content["input_shape"][1:])
    found: Dataset | None = None
    try:
        for validation in dict.fromkeys(shares):
            found = load(content["name"], seed=settings["seed"], validation=validation, image_size=size)
            found = normalized_as(frontier, found)
            if found.digest == content["digest"]:
                return found
    except DeepReduceError as error:
        raise DataError(
            f"the data {content['name']!r} of the search is not there: {error.message}",
            error.hint or "name them: `data`",
        ) from error
    assert found is not None
    return found


def normalized_as(frontier: Frontier, data: Dataset) -> Dataset:
    """Return ``data`` with the normalization of the search; as it is for a search that has not written it down."""
    content = frontier.content["data"]
    return data.normalized(content["mean"], content["std"]) if "mean" in content else data


def check_digest(frontier: Frontier, data: Dataset) -> None:
    """Refuse data that is not what the frontier was trained on."""
    if data.digest != frontier.content["data"]["digest"]:
        raise DataError(
            f"the data {data.name!r} is not what the search was made with: its digest is {data.digest:.12}, "
            f"the frontier's {frontier.content['data']['digest']:.12}",
            "give the same files, seed and share of validation images",
        )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
