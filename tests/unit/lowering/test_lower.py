"""Lowered ops against the torch networks they come from, in real numbers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepreduce.errors import ModelError
from deepreduce.export import with_rescales
from deepreduce.lowering import lower
from deepreduce.networks import ModelSource, Network
from deepreduce.plan import MaxPool, Relu, Rescale
from deepreduce.reduce import reduce_to
from real_ops import assert_same, randomized


@pytest.mark.parametrize(
    ("name", "width", "point"),
    [
        ("resnet18", 0.125, "full"),
        ("resnet18", 0.125, "S2^RT+S3^RT+S4^RT, rho=0.5"),
        ("resnet18", 0.125, "none"),
        ("resnet9", 0.125, "S1, alpha=0.5"),
        ("wrn-22-8", 0.1, "full"),
        ("vgg16", 0.0625, "full"),
        ("mobilenet_v1", 0.125, "full"),
    ],
)
def test_lowered_networks_compute_the_same(name, width, point):
    network = reduce_to(ModelSource(name, width).build((3, 32, 32), 10), point, front_padding=False)
    lowered = with_rescales(lower(randomized(network)))
    assert_same(network, lowered)
    shapes = {node.meta["path"]: node.meta["shape"] for node in network.body.graph.nodes}
    assert sum(np.prod(shapes[op.name][1:]) for op in lowered.ops if isinstance(op, Relu)) == network.relus


class Join(nn.Module):
    """What the zoo lacks: concatenation, functional pooling, biases, a view, normalized features."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, (5, 3), padding="same")
        self.second = nn.Conv2d(4, 4, 3, padding=(1, 1), groups=2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.average = nn.AvgPool2d(2)
        self.drop = nn.Dropout()
        self.hidden = nn.Linear(8 * 2 * 2, 6)
        self.norm = nn.BatchNorm1d(6)
        self.last = nn.Linear(6, 5)

    def forward(self, x):
        x = torch.relu(self.first(x))
        joined = torch.cat([self.pool(x), self.pool(self.second(x))], dim=1)
        joined = F.adaptive_avg_pool2d(self.average(joined), 2)
        return self.last(torch.relu(self.norm(self.hidden(self.drop(joined.view(joined.size(0), -1))))))


def test_operations_that_the_zoo_lacks():
    network = Network.of(Join(), (3, 16, 16))
    lowered = with_rescales(lower(randomized(network)))
    assert_same(network, lowered)
    # an accumulator that a pool reads is brought back before
    assert [op.inputs for op in lowered.ops if isinstance(op, Rescale)] == [("second",)]


@pytest.mark.parametrize("side", [7, 8, 9, 10])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (2, 3, 1), (3, 4, 1)])
def test_windows_that_reach_beyond_the_map(side, kernel, stride, padding):
    """ceil_mode: padding at the end, where torch's windows go on, and only there."""
    network = Network.of(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(kernel, stride, padding, ceil_mode=True),
            nn.Conv2d(4, 2, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ),
        (3, side, side),
    )
    lowered = with_rescales(lower(randomized(network)))
    assert_same(network, lowered)
    [pool] = [op for op in lowered.ops if isinstance(op, MaxPool)]
    assert pool.padding[::2] == (padding, padding) and max(pool.padding) < kernel


def test_removed_relus_leave_a_rescale_that_block_and_shortcut_share():
    network = reduce_to(ModelSource("resnet18", 0.125).build((3, 32, 32), 10), "S2^RT+S3+S4", front_padding=False)
    ops = {op.name: op for op in with_rescales(lower(network)).ops}
    assert ops["conv1.rescale"].inputs == ("conv1",)
    assert ops["layer1.0.conv1"].inputs == ("conv1.rescale",)
    assert ops["layer1.0.add"].inputs == ("layer1.0.conv2", "conv1.rescale")
    assert ops["layer2.0.conv2"].inputs == ("layer2.0.conv1.rescale",)
    assert ops["layer2.0.relu_1"].inputs == ("layer2.0.add",)
    assert ops["layer3.0.relu"].inputs == ("layer3.0.conv1",)
    rescaled = sorted(name for name in ops if name.endswith(".rescale"))
    stage1 = [f"layer1.{block}.{op}.rescale" for block in (0, 1) for op in ("add", "conv1")]
    assert rescaled == ["conv1.rescale", *stage1, "layer2.0.conv1.rescale", "layer2.1.conv1.rescale"]


class Refused(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.part = make()
        self.last = nn.Linear(4 * 8 * 8, 3)

    def forward(self, x):
        return self.last(self.part(self.relu(self.conv(x))).flatten(1))


class Squared(nn.Module):
    def forward(self, x):
        return x * x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sigmoid(), "sigmoid cannot"),
        (lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2), "dilation 1"),
        (lambda: nn.MaxPool2d(2, 1, 1, dilation=2), "dilation 1"),
        (lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False), "whole window"),
        (Squared, "not linear"),
    ],
)
def test_what_no_plan_has_is_refused(make, message):
    with pytest.raises(ModelError, match=message):
        lower(Network.of(Refused(make), (3, 8, 8)))
