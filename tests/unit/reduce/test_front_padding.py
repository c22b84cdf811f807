"""Zero padding at the front of linear segments: what moves, what stays, and that nothing else changes."""

import pytest
import torch
from torch import nn

import deepreduce
from deepreduce.jobs.spec import network_digest
from deepreduce.networks import ModelSource, Network, count
from deepreduce.reduce.front_padding import is_front_padded, without_front_padding

RESNET18 = ModelSource("resnet18", 0.125).build((3, 32, 32), 10)
POINTS = ("S2^RT+S3^RT+S4^RT", "S2+S3", "S3", "S2*+S3^RT", "S2^RT[outer]+S3", "none", "S1+S2^RT, alpha=0.5, rho=0.5")


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet9", "resnet20", "wrn-22-8", "vgg16", "mobilenet_v1", "mobilenet_v2"]
)
def test_networks_with_all_their_relus_stay_as_they_are(name):
    network = ModelSource(name, 0.125).build((3, 32, 32), 10)
    assert not is_front_padded(deepreduce.front_padded(network))
    assert network_digest(deepreduce.front_padded(network)) == network_digest(network)
    assert not is_front_padded(deepreduce.reduce_to(network, "full"))


@pytest.mark.parametrize("point", POINTS)
def test_counts_names_and_weights_stay_and_the_way_back_is_exact(point):
    padded = deepreduce.reduce_to(RESNET18, point)
    plain = deepreduce.reduce_to(RESNET18, point, front_padding=False)
    assert is_front_padded(padded)
    assert not is_front_padded(plain)
    assert padded.relus == plain.relus
    assert {k: v.shape for k, v in padded.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    assert str(padded.point) == point
    assert padded.notices == plain.notices
    assert count(padded).total.params == count(plain).total.params
    assert count(padded).total.macs >= count(plain).total.macs
    restored = without_front_padding(padded)
    assert list(map(str, restored.body.graph.nodes)) == list(map(str, plain.body.graph.nodes))
    assert [repr(m) for m in restored.body.modules()] == [repr(m) for m in plain.body.modules()]
    padded.train()(torch.randn(2, 3, *padded.input_shape[1:])).sum().backward()


def test_zeros_stand_at_the_front_only():
    padded = deepreduce.reduce_to(RESNET18, "S2+S3+S4").eval()
    nodes = {node.meta["path"]: node for node in padded.body.graph.nodes}
    pads = [module for module in padded.body.modules() if isinstance(module, nn.ZeroPad2d)]
    assert [module.padding for module in pads if max(module.padding) > 0] == [(6, 5, 6, 5)]  # the image
    assert nodes["conv1"].meta["shape"] == (2, 8, 41, 41)
    assert nodes["layer2.0.relu"].meta["shape"] == (2, 16, 16, 16)
    for name in ("conv1", "layer1.0.conv1", "layer1.1.conv2", "layer2.0.conv1"):
        assert padded.body.get_submodule(name).padding == (0, 0)
    assert padded.body.get_submodule("layer2.0.conv2").padding == (1, 1)  # reads a ReLU


def test_the_inside_of_the_image_is_as_before():
    """Far from the border both are the same function."""

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
            self.fc = nn.Linear(3 * 16 * 16, 2)

        def forward(self, x):
            x = self.layers(x)
            return self.fc(torch.relu(x).flatten(1))

    network = deepreduce.network(Chain(), (3, 16, 16)).eval()
    padded = deepreduce.front_padded(network)
    images = torch.randn(2, 3, 16, 16)
    before, after = (_value(n, "relu", images) for n in (network, padded))
    assert torch.allclose(before[:, :, 2:-2, 2:-2], after[:, :, 2:-2, 2:-2], atol=1e-6)
    assert not torch.allclose(before, after, atol=1e-4)


def _value(network, name, images):
    values = {}

    class Keep(torch.fx.Interpreter):
        def run_node(self, n):
            values[n.meta["path"]] = super().run_node(n)
            return values[n.meta["path"]]

    with torch.no_grad():
        Keep(network.body).run(images)
    return values[name]


def test_rewrites_of_a_front_padded_network_are_front_padded():
    once = deepreduce.reduce_to(RESNET18, "S3^RT, rho=0.5")
    twice = deepreduce.reshape(deepreduce.thin(deepreduce.reduce_to(RESNET18, "S2+S3"), {"S3"}), rho=0.5)
    twice = deepreduce.cull(twice, {"S2"})
    assert network_digest(once) == network_digest(twice)
    again = deepreduce.reduce_to(deepreduce.reduce_to(RESNET18, "S2+S3"), "S3, alpha=0.5")
    assert list(again.state_dict()) == list(deepreduce.reduce_to(RESNET18, "S3, alpha=0.5").state_dict())


def test_a_layer_that_is_called_twice_pads_at_both_places_or_none():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.fc = nn.Linear(3 * 8 * 8, 2)

        def forward(self, x):
            x = torch.relu(self.conv(x))  # reads the image
            x = self.conv(self.conv(x))  # reads a ReLU, then a convolution
            return self.fc(torch.relu(x).flatten(1))

    network = deepreduce.network(Shared(), (3, 8, 8)).eval()
    padded = deepreduce.front_padded(network)
    assert padded.body.get_submodule("conv").padding == (0, 0)
    assert padded.relus == network.relus
    images = torch.randn(1, 3, 8, 8)
    assert torch.allclose(_value(network, "relu", images), _value(padded, "relu", images), atol=1e-6)


def test_what_reads_sizes_keeps_its_extent():
    class Sized(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.fc = nn.Linear(3 * 8 * 8, 2)

        def forward(self, x):
            x = self.a(x)
            y = torch.relu(self.b(x))
            return self.fc(y.view(y.size(0), x.size(1) * x.size(2) * x.size(3)))

    network = deepreduce.network(Sized(), (3, 8, 8))
    padded = deepreduce.front_padded(network)
    assert padded(torch.zeros(2, 3, 8, 8)).shape == (2, 2)
    assert not is_front_padded(padded)


def test_user_networks_are_pruned_before_they_are_padded():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv2d(3 if k == 0 else 8, 8, 3, padding=1) for k in range(4)])
            self.fc = nn.Linear(8, 3)

        def forward(self, x):
            for conv in self.convs:
                x = torch.relu(conv(x))
            return self.fc(x.mean((2, 3)))

    network = deepreduce.network(Own(), (3, 8, 8), stages={"first": "relu", "rest": "relu_*"})
    narrow = deepreduce.reduce_to(network, "rest, alpha=0.5")
    assert is_front_padded(narrow)
    assert narrow.relus == 3 * 4 * 8 * 8
    narrower = deepreduce.reshape(narrow, alpha=0.5)
    assert is_front_padded(narrower)
    assert narrower.relus == 3 * 2 * 8 * 8


@pytest.mark.parametrize("side", [12, 13])
def test_a_margin_at_the_far_sides_alone_is_computed(side):
    """A stride that covers its operand must read beyond it for one more row; an even kernel asks for no other."""
    places = (side + 1) // 2 * ((side - 1) // 2)
    layers = nn.Conv2d(2, 2, (1, 3), 2), nn.Conv2d(2, 2, 2, padding="same"), nn.ReLU(), nn.Flatten()
    module = nn.Sequential(*layers, nn.Linear(2 * places, 3))
    network = Network.of(module, (2, side, side), verify=False).eval()
    padded = deepreduce.front_padded(network)
    assert padded(torch.randn(2, 2, side, side)).shape == (2, 3)
    assert padded.relus == network.relus
