"""Random linear segments, front padded and merged, against torch's own forward at every pixel, borders included."""

import torch
from hypothesis import assume, given, settings, strategies as st
from torch import nn

from deepreduce.export import merge_ops
from deepreduce.export.merging.eliminate import merge
from deepreduce.export.merging.from_ops import graph_of
from deepreduce.export.merging.to_ops import emit
from deepreduce.lowering import convs, lower
from deepreduce.networks import Network
from deepreduce.plan import Relu
from deepreduce.reduce import front_padded
from real_ops import assert_same, randomized


class Fewest:
    """Costs for which fewer linear ops are always better."""

    def link(self, link, operand, result):
        return 0.0 if link.kind == "pool" else 1.0

    def addition(self, shape):
        return 0.01

    def rescale(self, shape):
        return 0.1


class Layer(nn.Module):
    """A convolution, with or without bias and normalization."""

    def __init__(self, before, after, kernel, stride, padding, groups, bias, norm):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=bias)
        self.norm = nn.BatchNorm2d(after) if norm else nn.Identity()

    def forward(self, x):
        return self.norm(self.conv(x))


class Block(nn.Module):
    """Two layers side by side with a shortcut, a projection or a concatenation, or one layer, or a pool."""

    def __init__(self, shape, channels, first, second, pool):
        super().__init__()
        self.shape = shape
        self.first, self.second = first, second
        self.pool = pool
        stride = first.conv.stride[0]
        after = first.conv.out_channels
        self.projection = nn.Conv2d(channels, after, 1, stride)
        self.mix = nn.Conv2d(2 * after, channels, 3, padding=1)

    def forward(self, x):
        if self.shape == "pool":
            return self.pool(x)
        y = self.second(self.first(x))
        if self.shape == "shortcut":
            return y + x
        if self.shape == "projection":
            return y + self.projection(x)
        if self.shape == "difference":
            return 0.5 * y - (self.projection(x) + 3.0)
        if self.shape == "concatenation":
            return self.mix(torch.cat([y, self.projection(x)], 1))
        return y


class Net(nn.Module):
    """A source, a segment that ends in a ReLU, and a classifier that reads every pixel."""

    def __init__(self, start, blocks, channels, side, end):
        super().__init__()
        self.start, self.end = start, end
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.most = nn.MaxPool2d(2)
        self.blocks = nn.Sequential(*blocks)
        with torch.no_grad():
            height, width = self.eval().features(torch.zeros(1, 3, *side)).shape[2:]
        self.fc = nn.Linear(channels * height * width, 4)

    def features(self, x):
        x = self.stem(x)
        if self.start != "image":
            x = torch.relu(x) if self.start == "relu" else self.most(torch.relu(x))
        return self.blocks(x)

    def forward(self, x):
        x = self.features(x)
        return self.fc((torch.relu(x) if self.end == "relu" else x).flatten(1))


@st.composite
def layers(draw, before, after, stride):
    kernel = draw(st.sampled_from([1, 3, 3, 5]))
    groups = draw(st.sampled_from([1, 1, 2]))
    bias, norm = draw(st.booleans()), draw(st.booleans())
    return Layer(before, after, kernel, stride, kernel // 2, groups, bias, norm)


@st.composite
def blocks(draw, channels):
    shape = draw(st.sampled_from(["chain", "shortcut", "projection", "difference", "concatenation", "pool"]))
    stride = draw(st.sampled_from([1, 1, 2])) if shape != "shortcut" else 1
    first = draw(layers(channels, channels, stride))
    second = draw(layers(channels, channels, 1))
    pools = [nn.AvgPool2d(2), nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(3, 2, 1), nn.ZeroPad2d((1, 0, 2, 1))]
    return Block(shape, channels, first, second, draw(st.sampled_from(pools)))


@st.composite
def networks(draw):
    torch.manual_seed(draw(st.integers(0, 999)))
    side = draw(st.integers(8, 13)), draw(st.integers(8, 13))
    chosen = draw(st.lists(blocks(4), min_size=1, max_size=3))
    start, end = draw(st.sampled_from(["image", "relu", "maximum"])), draw(st.sampled_from(["relu", "linear"]))
    if start == "image":
        end = "relu"  # a network has one
    try:
        net = Net(start, chosen, 4, side, end)
    except RuntimeError as error:  # pools of maps that strides have left no window of
        assume("Output size is too small" not in str(error))
        raise
    return Network.of(net, (3, *side), verify=False)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_merged_segments_compute_the_same_at_every_pixel(network):
    padded = front_padded(network)
    assert list(padded.state_dict()) == list(network.state_dict())
    assert padded.relus == network.relus
    lowered = lower(randomized(padded))
    assert_same(padded, lowered)
    fewest = emit(merge(graph_of(lowered), Fewest()), lowered)
    assert_same(padded, fewest)
    cheapest = merge_ops(lowered)
    assert_same(padded, cheapest)
    for merged in (fewest, cheapest):
        assert sum(isinstance(op, Relu) for op in merged.ops) == sum(isinstance(op, Relu) for op in lowered.ops)
    if not any(isinstance(module, nn.ZeroPad2d) for module in network.body.modules()):
        assert convs(fewest) <= 1 + sum(isinstance(op, Relu) for op in lowered.ops)  # each segment is one op or a pool
