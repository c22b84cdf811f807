"""`deepreduce.network`: anything that names a network, as a network."""

from __future__ import annotations

from collections.abc import Mapping

from .networks.network import Network
from .networks.source import ModelLike, ModelSource


def network(
    model: ModelLike,
    input_shape: tuple[int, int, int] = (3, 32, 32),
    num_classes: int | None = None,
    *,
    width: float = 1.0,
    stages: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Network:
    """Build and trace ``model``: a built-in name, ``file.py:factory``, a factory, or an ``nn.Module`` (weights kept).

    ``num_classes`` None means the model's own (100 for built-in networks). Raises `ModelError` with the reason if it
    cannot be found, traced, or has no ReLU.
    """
    return ModelSource(model, width, stages).build(input_shape, num_classes, seed)
