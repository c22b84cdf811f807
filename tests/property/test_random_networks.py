"""Random networks of branches, shortcuts, concatenations and every spelling of ReLU, against an independent count."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn

import deepreduce
from deepreduce.networks import Network, count
from deepreduce.networks.features import with_features
from relu_oracle import relus_called

SPELLINGS = ("module", "shared", "functional", "in place", "dropped in place", "method", "relu6", "none")
SHAPES = ("chain", "shortcut", "concat", "overwritten shortcut")


class Unit(nn.Module):
    def __init__(self, channels, stride, spelling, shape, groups):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride, 1, groups=groups)
        self.conv2 = nn.Conv2d(channels * (2 if shape == "concat" else 1), channels, 1)
        self.relu, self.relu6 = nn.ReLU(inplace=stride == 1), nn.ReLU6()
        self.spelling, self.shape = spelling, shape

    def activate(self, x):
        if self.spelling == "module":
            return self.relu(x)
        if self.spelling == "functional":
            return F.relu(x)
        if self.spelling == "in place":
            return F.relu(x, True)
        if self.spelling == "dropped in place":
            x.relu_()
            return x
        if self.spelling == "method":
            return x.relu()
        return self.relu6(x) if self.spelling == "relu6" else x

    def forward(self, x, shared):
        y = self.conv1(x)
        z = shared(y) if self.spelling == "shared" else self.activate(y)
        if self.shape == "shortcut":
            z = self.conv2(z)
            z += F.avg_pool2d(x, self.conv1.stride[0])
            return z
        if self.shape == "concat":
            return self.conv2(torch.cat([z, self.activate(y * 1)], 1))
        return self.conv2(z) + y if self.shape == "overwritten shortcut" else self.conv2(z)


class Net(nn.Module):
    def __init__(self, units, channels):
        super().__init__()
        self.first = nn.Conv2d(3, channels, 1)
        self.units = nn.ModuleList(units)
        self.shared = nn.ReLU()
        self.fc = nn.Linear(channels, 4)

    def forward(self, x):
        x = F.relu(self.first(x))
        for unit in self.units:
            x = unit(x, self.shared)
        return self.fc(x.mean((2, 3)))


@st.composite
def networks(draw):
    torch.manual_seed(draw(st.integers(0, 999)))
    channels = draw(st.sampled_from([2, 4]))
    unit = st.builds(
        Unit, st.just(channels), st.sampled_from([1, 1, 2]), st.sampled_from(SPELLINGS), st.sampled_from(SHAPES),
        st.sampled_from([1, 2]),
    )  # fmt: skip
    return Net(draw(st.lists(unit, min_size=0, max_size=4)), channels)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_counts_and_values_agree_with_the_module(module):
    shape = (3, 16, 16)
    network = Network.of(module, shape).eval()
    profile = count(network)
    assert profile.total.relus == relus_called(module, shape)
    used = {name for name, _ in network.body.named_parameters()}
    assert profile.total.params == sum(p.numel() for name, p in module.named_parameters() if name in used)
    assert sum(c.relus for c in profile.stages.values()) == profile.total.relus
    x = torch.randn(3, *shape)
    assert torch.allclose(network(x), module.eval()(x.clone()), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(networks(), st.data())
def test_culling_any_stages_removes_exactly_their_relus(module, data):
    network = Network.of(module, (3, 16, 16)).eval()
    costs = count(network).stages
    gone = data.draw(st.sets(st.sampled_from(sorted(costs)), min_size=1))
    culled = deepreduce.cull(network, gone)
    assert culled.relus == sum(cost.relus for stage, cost in costs.items() if stage not in gone)
    assert relus_called(culled, (3, 16, 16)) == culled.relus
    assert network.relus == sum(cost.relus for cost in costs.values())
    if gone == set(costs):  # an affine map: f(x) + f(y) = f(x + y) + f(0)
        x, y = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
        assert torch.allclose(culled(x) + culled(y), culled(x + y) + culled(0 * x), atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(networks(), st.data(), st.booleans())
def test_relus_fade_to_the_reduced_network(module, data, front_padding):
    network = Network.of(module, (3, 16, 16)).eval()
    kept = data.draw(st.sets(st.sampled_from(sorted(network.layout.stages))))
    point = "+".join(stage for stage in network.layout.stages if stage in kept) or "none"
    reduced = deepreduce.reduce_to(network, point, front_padding=front_padding)
    fading, fade = deepreduce.reduce.anneal_to(network, point, front_padding=front_padding)
    x = torch.randn(3, 3, 16, 16)
    if not front_padding:
        assert torch.equal(fading(x), network(x))
    fade.set(0.0)
    assert torch.equal(fading(x), reduced(x))
    logits, maps = with_features(reduced)(x)
    assert torch.equal(logits, reduced(x))
    assert [m.shape[2:] for m in maps] == [m.shape[2:] for m in with_features(network)(x)[1]]
