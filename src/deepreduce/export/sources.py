"""Sources of an export besides a frontier's point: a network with weights of its own, and samples to calibrate it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import DataLike, as_dataset
from ..errors import DataError, SettingError
from ..networks.network import Network
from ..networks.source import ModelSource
from ..networks.weights import load_weights
from ..networks.zoo.registry import ZOO
from ..plan.npy import read_array
from ..progress import no_progress
from ..reduce import reduce_to
from ..reduce.elements.linearize import require_chosen
from ..train.augment import Normalizer
from ..train.evaluate import accuracy
from ..train.fit import fit
from ..train.recipe import make_recipe

TUNING = {"schedule": "step", "step_epochs": 100_000, "learning_rate": 0.003, "batch_size": 64}  # a constant rate
MAX_SAMPLES = 1024
WEIGHTS_HINT = (
    "give `weights` FILE, let the factory load its own, or name a search's folder; `random_weights` for a trial"
)


def load_network(
    source: ModelSource,
    input_shape: tuple[int, int, int],
    num_classes: int | None,
    weights: Path | None,
    random_weights: bool = False,
) -> Network:
    """Return the unreduced network with its trained weights: those of its factory, or those of ``weights``.

    Raises `SettingError` where it has neither, unless ``random_weights`` are wanted.
    """
    if weights is None and not random_weights and isinstance(source.model, str) and source.model in ZOO:
        raise SettingError(f"{source.model} has no weights of its own", WEIGHTS_HINT)
    network = source.build(input_shape, num_classes)
    if weights is not None:
        load_weights(network, weights)
    elif not random_weights and _differs(network, source.build(input_shape, num_classes, seed=1)):
        raise SettingError(f"{source.name} has random weights: with another seed they are others", WEIGHTS_HINT)
    return network.eval()


def _differs(first: Network, second: Network) -> bool:
    """Return whether two builds have other weights: a factory that loads its own has not."""
    state, again = first.state_dict(), second.state_dict()
    return state.keys() != again.keys() or any(
        not torch.equal(tensor.nan_to_num(), again[name].nan_to_num()) for name, tensor in state.items()
    )


def tuned(
    full: Network, point: str, data: DataLike, epochs: int, progress: Callable[[str, int, int], None] | None = None
) -> tuple[Network, dict[str, float]]:
    """Return a trained network reduced to ``point`` and trained for a few more ``epochs`` at a small constant rate.

    Moving the padding to the front of linear segments changes what happens at the borders. The accuracies in percent on
    the validation split tell what that cost and what tuning gave back: of the network "reduced", "padded" and "tuned".
    """
    if epochs < 1:
        raise SettingError(f"{epochs} epochs of tuning, at least 1 is needed", "leave `tune` out to tune nothing")
    data = as_dataset(data)
    normalize = Normalizer(data.mean, data.std, torch.device("cpu"), channels_last=False)
    reduced = reduce_to(full, point, front_padding=False)
    network = require_chosen(reduce_to(full, point))
    scores = {
        "reduced": accuracy(reduced, data.validation, normalize),
        "padded": accuracy(network, data.validation, normalize),
    }
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    report = progress or no_progress
    report("tune", 0, epochs)
    result = fit(
        network,
        data,
        make_recipe("quick", epochs=epochs, **TUNING),
        on_epoch=lambda record: report("tune", record.epoch, epochs),
    )
    if result.validation_accuracy < scores["padded"]:
        network.load_state_dict(kept)
    scores["tuned"] = max(result.validation_accuracy, scores["padded"])
    return network.eval(), scores


def read_calibration(path: Path, input_shape: tuple[int, int, int]) -> NDArray[Any]:
    """Samples of a .npy file, uint8 pictures or real inputs, as [n, C, H, W]; rows [n, C] become [n, C, 1, 1].

    A folder of pictures is read as data is (``folder:``): give that to ``--data`` instead. Raises `DataError`.
    """
    samples = read_array(path)
    if samples.dtype.kind not in "uif" or samples.ndim < 2 or not len(samples):
        raise DataError(f"{path} holds no array of samples", "save numbers [n, C, H, W], or rows [n, features]")
    if samples.dtype != np.uint8:
        samples = samples.astype(np.float64)
    if samples.ndim == 2 and input_shape[1:] == (1, 1):
        samples = samples[:, :, None, None]
    if samples.shape[1:] != input_shape:
        wanted = "x".join(map(str, input_shape))
        found = "x".join(map(str, samples.shape[1:]))
        raise DataError(
            f"{path}: the samples are {found}, the network takes {wanted}",
            f"`input_shape` {found} is for networks that leave it open"
            if samples.ndim == 4
            else "save them as [n, C, H, W]",
        )
    places = np.linspace(0, len(samples) - 1, min(len(samples), MAX_SAMPLES)).round().astype(np.int64)
    return samples[places]
