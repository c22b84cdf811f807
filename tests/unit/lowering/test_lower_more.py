"""Lowering of what the built-in networks lack: constants, pads and crops, means, masks of kept elements, ReLU6."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepreduce.errors import ModelError
from deepreduce.export import merge_ops
from deepreduce.lowering import convs, lower
from deepreduce.networks import ModelSource, Network
from deepreduce.plan import AvgPool, Conv, Flatten, Relu, kept_mask
from deepreduce.reduce import front_padded
from real_ops import assert_same, randomized, run


class Head(nn.Module):
    """A convolution, some part under test, a ReLU and a classifier that reads every pixel."""

    def __init__(self, part, side=8, channels=4):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.mean = nn.Parameter(torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1), requires_grad=False)
        self.after = nn.Conv2d(channels, 4, 3, padding=1)
        self.part = part
        self.fc = nn.Linear(4 * side * side, 3)

    def forward(self, x):
        x = torch.relu(self.conv((x - self.mean) / 2))
        return self.fc(torch.relu(self.after(self.part(x))).flatten(1))


class Part(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.function(x, self.conv)


PARTS = {
    "multiple": (lambda x, conv: 0.5 * conv(x) * -3.0, 8, 4),
    "quotient": (lambda x, conv: conv(x) / 4, 8, 4),
    "constants": (lambda x, conv: 1.5 - (conv(x) + 2.0 - 0.25), 8, 4),
    "constant on a shared value": (lambda x, conv: (x + 2.0) + conv(x), 8, 4),
    "difference": (lambda x, conv: conv(x) - x, 8, 4),
    "average and value": (lambda x, conv: F.adaptive_avg_pool2d(x, 8) + F.avg_pool2d(conv(x), 3, 1, 1), 8, 4),
    "twice": (lambda x, conv: conv(x + x), 8, 4),
    "pad": (lambda x, conv: conv(F.pad(x, (1, 2, 0, 1))), None, 4),
    "pad before addition": (lambda x, conv: F.pad(x, (1, 1)) + F.pad(conv(x), (0, 2)), None, 4),
    "pad before relu": (lambda x, conv: torch.relu(F.pad(conv(x), (1, 0, 0, 2))), None, 4),
    "crop": (lambda x, conv: conv(F.pad(x, (-1, -1, -2, 0))), None, 4),
    "crop of a pad": (lambda x, conv: F.pad(F.pad(conv(x), (2, 2, 2, 2)), (-2, -2, -2, -2)) + x, 8, 4),
    "pad of a crop": (lambda x, conv: conv(F.pad(F.pad(x, (-2, 0, -1, 0)), (2, 0, 1, 0))), 8, 4),
    "crop before relu": (lambda x, conv: torch.relu(F.pad(conv(x), (-1, -1, -1, -1))), None, 4),
    "pad before max-pool": (lambda x, conv: F.max_pool2d(F.pad(-1 * conv(x), (1, 1, 1, 1)), 3, 1), 8, 4),
    "pad before average": (lambda x, conv: F.avg_pool2d(F.pad(conv(x), (1, 1, 1, 1)), kernel_size=3, stride=1), 8, 4),
    "pads joined": (lambda x, conv: torch.cat([F.pad(x, (1, 1)), F.pad(conv(x), (0, 2))], 1), None, 8),
    "relu6": (lambda x, conv: F.relu6(5 * conv(x)), 8, 4),
    "relu of a negative multiple": (lambda x, conv: torch.relu(-2.0 * conv(x)), 8, 4),
    "gate that keeps its sides": (lambda x, conv: conv(F.pad(x.mean((2, 3), keepdim=True), (3, 4, 3, 4))), 8, 4),
}


@pytest.mark.parametrize("part", PARTS)
def test_parts_compute_the_same_lowered_and_merged(part):
    function, side, channels = PARTS[part]
    module = Head(Part(function), 8, channels)
    if side is None:
        shape = module.after(module.part(torch.zeros(1, 4, 8, 8))).shape
        module.fc = nn.Linear(shape[1] * shape[2] * shape[3], 3)
    network = randomized(Network.of(module, (3, 8, 8), verify=False))
    lowered = lower(network)
    assert_same(network, lowered)
    ops = merge_ops(lowered)
    assert_same(network, ops)
    assert convs(ops) <= convs(lowered)


@pytest.mark.parametrize("mean", [lambda x: x.mean((2, 3)), lambda x: torch.mean(x, dim=[-1, -2])])
def test_a_mean_is_a_pool(mean):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(mean(torch.relu(self.conv(x)))) * 0.5

    network = randomized(Network.of(Net(), (3, 6, 6)))
    lowered = lower(network)
    assert [type(op) for op in lowered.ops[2:4]] == [AvgPool, Flatten]
    assert_same(network, lowered)
    assert_same(network, merge_ops(lowered))


def test_an_average_of_logits_is_divided():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.classes = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 1)

        def forward(self, x):
            return self.classes(torch.relu(self.conv(x))).mean((2, 3))

    network = randomized(Network.of(Net(), (3, 6, 6)))
    assert_same(network, lower(network))
    ops = merge_ops(lower(network))
    assert_same(network, ops)


def test_crops_of_pads_and_means_over_the_input_cost_nothing():
    def function(x, conv):
        return F.pad(F.pad(x, (2, 2, 2, 2)), (-2, -2, -2, -2)) * 2.0

    lowered = lower(Network.of(Head(Part(function)), (3, 8, 8), verify=False))
    assert convs(lowered) == 4  # the normalization of the image has one before it is merged
    assert convs(merge_ops(lowered)) == 4  # its constant would not be the padding's zeros
    network = Network.of(Head(Part(function)), (3, 8, 8), verify=False)
    assert convs(merge_ops(lower(front_padded(network)))) == 3


def test_kept_elements():
    network = randomized(ModelSource("resnet9", 0.125).build((3, 16, 16), 10))
    shapes = {name: node.meta["shape"][1:] for name, node in network.relu_nodes().items()}
    first, second, third = list(shapes)[:3]
    rng = np.random.default_rng(0)
    masks = {first: rng.random(shapes[first]) < 0.5, second: np.zeros(shapes[second], bool)}
    masks[third] = np.ones(shapes[third], bool)
    lowered = lower(network, masks)
    found = {op.name: op for op in lowered.ops if isinstance(op, Relu)}
    assert second not in found
    assert found[third].kept is None
    assert np.array_equal(kept_mask(found[first], masks[first].size), masks[first].ravel())
    images = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    expected, merged = run(lowered, images), run(merge_ops(lowered), images)
    torch.testing.assert_close(merged, expected)
    with torch.no_grad():
        assert not torch.allclose(network.body(images), expected)


def test_masks_that_fit_nothing_are_refused():
    network = ModelSource("mobilenet_v2", 0.125).build((3, 16, 16), 10)
    name, node = next(iter(network.relu_nodes().items()))
    shape = node.meta["shape"][1:]
    with pytest.raises(ModelError, match="is not a ReLU"):
        lower(network, {"nowhere": np.ones(shape, bool)})
    with pytest.raises(ModelError, match="a mask of"):
        lower(network, {name: np.ones(3, bool)})
    some = np.ones(shape, bool)
    some[0] = False
    with pytest.raises(ModelError, match="all of its elements or none"):
        lower(network, {name: some})


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, conv: 1.0 / x, "not linear"),
        (lambda x, conv: F.pad(x, (1, -1), value=2.0), "with zeros"),
        (lambda x, conv: conv(F.pad(x, (1, 1, 1, 1), mode="reflect"))[:, :, 1:-1, 1:-1], "with zeros"),
        (lambda x, conv: x * torch.ones(8, 8), "one number for each channel"),
        (lambda x, conv: x.mean(1, keepdim=True) + x, "height and the width"),
        (lambda x, conv: torch.add(x, conv(x), alpha=2), "without further arguments"),
    ],
)
def test_what_cannot_be_lowered_says_why(function, message):
    with pytest.raises(ModelError, match=message):
        lower(Network.of(Head(Part(function), 8), (3, 8, 8), verify=False))


def test_pads_become_the_readers_padding():
    def function(x, conv):
        return conv(F.pad(x, (1, 2, 0, 1)))

    module = Head(Part(function))
    module.fc = nn.Linear(4 * 9 * 11, 3)
    ops = {op.name: op for op in lower(Network.of(module, (3, 8, 8), verify=False)).ops}
    assert isinstance(ops["part.conv"], Conv)
    assert ops["part.conv"].padding == (1, 2, 2, 3)
