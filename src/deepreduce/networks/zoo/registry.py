"""The built-in networks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

from torch import nn

from ...errors import ModelError, SettingError, nearest
from ...units import show_count
from .mobilenet import mobilenet_v1, mobilenet_v2
from .resnet import four_stage, resnet6, resnet9, three_stage
from .vgg import VGG
from .wide_resnet import WideResNet


@dataclass(frozen=True)
class ZooEntry:
    """Its constructor (``width``, ``in_channels``, ``num_classes``); input sides are multiples of ``downsampling``."""

    build: Callable[..., nn.Module]
    downsampling: int


ZOO = {
    "resnet18": ZooEntry(partial(four_stage, (2, 2, 2, 2)), 8),
    "resnet34": ZooEntry(partial(four_stage, (3, 4, 6, 3)), 8),
    "resnet10": ZooEntry(partial(four_stage, (1, 1, 1, 1)), 8),
    "resnet9": ZooEntry(resnet9, 8),
    "resnet6": ZooEntry(resnet6, 8),
    "resnet20": ZooEntry(partial(three_stage, 3), 4),
    "resnet32": ZooEntry(partial(three_stage, 5), 4),
    "resnet56": ZooEntry(partial(three_stage, 9), 4),
    "wrn-22-8": ZooEntry(partial(WideResNet, 22, 8), 4),
    "vgg16": ZooEntry(VGG, 32),
    "mobilenet_v1": ZooEntry(mobilenet_v1, 16),
    "mobilenet_v2": ZooEntry(mobilenet_v2, 8),
}


def build_zoo(
    name: str, *, width: float = 1.0, input_shape: tuple[int, int, int] = (3, 32, 32), num_classes: int = 100
) -> nn.Module:
    """Return the network ``name`` with channels scaled by ``width`` (alpha) for images of ``input_shape`` (c, h, w).

    Raises `ModelError` for an unknown name, `SettingError` for a width, size or class count that cannot be.
    """
    if name not in ZOO:
        raise ModelError(f"unknown network {name!r}", nearest(name, ZOO))
    if not 0 < width <= 16:
        raise SettingError(f"width {width:g} is not in (0, 16]", "1 is the published network, 0.5 half its channels")
    if num_classes < 2:
        raise SettingError(f"{show_count(num_classes, 'class')}: a classifier needs at least 2")
    if num_classes > 1_000_000 or prod(input_shape) > 2**28:
        raise SettingError(f"{num_classes} classes of {'x'.join(map(str, input_shape))} images are too large to build")
    check_input(name, input_shape)
    return ZOO[name].build(width=width, in_channels=input_shape[0], num_classes=num_classes)


def check_input(name: str, input_shape: tuple[int, int, int]) -> None:
    """Refuse an image size that ``name`` cannot halve evenly down to its last stage."""
    channels, height, width = input_shape
    factor = ZOO[name].downsampling
    if channels < 1 or height < factor or width < factor or height % factor or width % factor:
        raise SettingError(
            f"{name} cannot take {channels}x{height}x{width} images: it halves their sides down to 1/{factor}",
            f"use sides that are multiples of {factor}",
        )
