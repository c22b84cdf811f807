"""Inputs of any scale: how finely they are rounded, and what that does to answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from deepreduce.errors import PlanError
from deepreduce.export import export_network
from deepreduce.export.export import Exported
from deepreduce.networks.network import Network
from deepreduce.networks.source import ModelSource
from deepreduce.plan import encode, encode_input
from deepreduce.plan.reference import answers, decode_output
from deepreduce.plan.serialization import decode

RNG = np.random.default_rng(0)
STANDARD = RNG.normal(size=(64, 2, 8, 8)) + RNG.normal(size=(64, 2, 1, 1))

SOURCE = """
import torch.nn as nn
def build(num_classes=4):
    return nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(8, num_classes))
"""


@pytest.fixture
def fitted(tmp_path) -> Callable[[np.ndarray], Network]:
    """Return networks whose first layer has learned the scale of their inputs."""
    (tmp_path / "net.py").write_text(SOURCE)

    def build(x: np.ndarray) -> Network:
        torch.manual_seed(0)
        network = ModelSource(f"{tmp_path / 'net.py'}:build").build((2, 8, 8), 4).eval()
        first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        with torch.no_grad():
            first.weight.mul_(torch.tensor(1 / x.std((0, 2, 3))).float()[None, :, None, None])
            first.bias.sub_((first.weight.sum((2, 3)) * torch.tensor(x.mean((0, 2, 3))).float()).sum(1))
        return network

    return build


def lost(exported: Exported, network: Network, x: np.ndarray) -> float:
    """How far the plan's answers are from the network's, relative to their spread from image to image."""
    with torch.no_grad():
        exact = network.double()(torch.tensor(x)).numpy()
    found = decode_output(exported.plan, answers(exported.plan, exported.weights, encode_input(exported.plan, x)))
    return float(np.sqrt(((found - exact) ** 2).mean()) / np.sqrt(exact.var(0).mean()))


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 0.1, 1.0, 10.0, 1e6])
def test_inputs_of_any_scale_lose_alike(fitted, scale):
    x = STANDARD * scale
    exported = export_network(fitted(x), x)
    assert lost(exported, fitted(x), x) < 0.004
    assert exported.notices == ()
    assert decode(encode(exported.plan)).ring.input_fraction == exported.plan.ring.input_fraction
    assert (exported.plan.ring.input_fraction == 8) == (scale == 1.0)


def test_reflectances_and_spectra(fitted):
    x = np.clip(STANDARD * 0.02 + 0.05, 0, 0.1)
    assert lost(export_network(fitted(x), x, input_fraction=8), fitted(x), x) > 0.01
    assert lost(export_network(fitted(x), x), fitted(x), x) < 0.004


def test_pictures_that_are_normalized_keep_their_plan(fitted):
    pixels = RNG.integers(0, 256, (64, 2, 8, 8)).astype(np.uint8)
    normalization = {"mean": (pixels / 255).mean((0, 2, 3)), "std": (pixels / 255).std((0, 2, 3))}
    found, fixed = (export_network(fitted(STANDARD), pixels, **normalization, **k) for k in ({}, {"input_fraction": 8}))
    assert found.plan == fixed.plan


def test_channels_of_too_different_scales_are_refused(fitted):
    x = STANDARD * np.array([1, 1e-4])[:, None, None]
    with pytest.raises(PlanError, match=r"reach .* varies by .* rounded to 14 bits .*normalize each channel"):
        export_network(fitted(x), x)
    half = STANDARD * np.array([1, 0.1])[:, None, None]
    assert lost(export_network(fitted(half), half), fitted(half), half) < 0.01


def test_inputs_that_are_rounded_finely_are_taken_whatever_the_network_makes_of_them(tmp_path):
    """An untrained one may hardly tell its inputs from each other."""
    layers = ", ".join(["nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()"] * 6)
    (tmp_path / "deep.py").write_text(
        f"import torch.nn as nn\ndef build(num_classes=4):\n    return nn.Sequential({layers}, "
        "nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, num_classes))\n"
    )
    network = ModelSource(f"{tmp_path / 'deep.py'}:build").build((2, 8, 8), 4).eval()
    assert export_network(network, RNG.normal(size=(16, 2, 8, 8))).plan.ring.input_fraction == 8


def test_a_plan_that_is_far_from_its_network_says_so(fitted):
    x = STANDARD + 300
    assert "answers differ from the network's by" in "".join(export_network(fitted(x), x).notices)


@pytest.mark.parametrize("images", [np.zeros((3, 2, 8, 8)), np.full((3, 2, 8, 8), 0.1)], ids=["zero", "constant"])
def test_constant_samples_are_taken(fitted, images):
    assert export_network(fitted(STANDARD), images).plan.ring.input_fraction in (8, 11)
