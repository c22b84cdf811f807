"""First weights of a narrower network: whole channels, the same ones wherever they are added or read."""

import copy

import pytest
import torch
from torch import nn

import deepreduce
from deepreduce.networks import ModelSource, Network
from deepreduce.reduce.warm_start import copy_weights

SHAPE = (3, 32, 32)
IMAGES = torch.randn(4, *SHAPE)


def silenced(network: Network, kept: nn.Module) -> Network:
    """``network`` with every channel at zero, and those of ``kept`` (a network of its layers) in their first places."""
    silent = copy.deepcopy(network)
    for value in silent.state_dict().values():
        value.zero_()
    own = silent.state_dict()
    for name, value in kept.state_dict().items():
        own[name][tuple(slice(0, side) for side in value.shape)] = value
    for name, value in own.items():
        if name.endswith("running_var"):
            value[value == 0] = 1
    return silent


def shuffled(network: Network, seed: int) -> Network:
    """The same function with the channels of each inner value in another order: resnets of one width per stage."""
    g = torch.Generator().manual_seed(seed)
    mixed = copy.deepcopy(network)
    layers = dict(mixed.body.named_modules())
    orders = {
        f"layer{k}": torch.randperm(layers[f"layer{k}"].get_submodule("0").bn2.num_features, generator=g)
        for k in (1, 2, 3, 4)
    }
    orders["stem"] = orders["layer1"]
    for name, module in layers.items():
        if name == "fc":
            module.weight.data = module.weight.data[:, orders["layer4"]]
            continue
        if not isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            continue
        stage = "stem" if name in ("conv1", "bn1") else name.split(".")[0]
        inner = name.endswith((".conv1", ".bn1"))
        key = f"{stage}.{name.split('.')[1]}.inner" if inner and stage != "stem" else stage
        if key not in orders:
            orders[key] = torch.randperm(len(module.weight), generator=g)
        for value in (v for v in module.state_dict().values() if v.dim()):
            value.copy_(value[orders[key]].clone())
        if isinstance(module, nn.Conv2d) and name != "conv1":
            block = name.split(".")[1]
            before = "stem" if stage == "layer1" else f"layer{int(stage[5]) - 1}"
            reads = f"{stage}.{block}.inner" if name.endswith("conv2") else before if block == "0" else stage
            module.weight.data = module.weight.data[:, orders[reads]]
    return mixed


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "mobilenet_v1", "mobilenet_v2", "wrn-22-8", "resnet56"])
def test_channels_that_matter_are_found(name):
    """A network in which only some channels are not silent: the narrow one computes the same."""
    full = ModelSource(name, 0.125).build(SHAPE, 5).eval()
    narrow = deepreduce.reshape(full, alpha=0.5).eval()
    torch.manual_seed(1)
    for module in narrow.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            nn.init.normal_(module.bias, 0, 0.2)
    source = silenced(full, narrow)
    assert torch.allclose(source(IMAGES), narrow(IMAGES), atol=1e-5)
    student = deepreduce.reshape(full, alpha=0.5).eval()
    assert not torch.allclose(student(IMAGES), source(IMAGES), atol=1e-2)
    copy_weights(source, student)
    assert torch.allclose(student(IMAGES), source(IMAGES), atol=1e-5)


def test_they_are_found_wherever_they_are():
    full = ModelSource("resnet18", 0.125).build(SHAPE, 5).eval()
    narrow = deepreduce.reshape(full, alpha=0.5).eval()
    source = silenced(full, narrow)
    mixed = shuffled(source, 3)
    assert torch.allclose(mixed(IMAGES), source(IMAGES), atol=1e-5)
    assert not torch.equal(mixed.body.conv1.weight, source.body.conv1.weight)
    student = deepreduce.reshape(full, alpha=0.5).eval()
    copy_weights(mixed, student)
    assert torch.allclose(student(IMAGES), source(IMAGES), atol=1e-5)


@pytest.mark.parametrize("point", ["S2+S3", "S2^RT+S3^RT, rho=0.5", "S3*", "none"])
def test_at_full_width_everything_is_copied(point):
    teacher = ModelSource("resnet18", 0.125).build(SHAPE, 5, seed=1).eval()
    student = deepreduce.reduce_to(ModelSource("resnet18", 0.125).build(SHAPE, 5, seed=2), point).eval()
    copy_weights(teacher, student)
    assert all(torch.equal(teacher.state_dict()[name], value) for name, value in student.state_dict().items())
    assert torch.equal(student(IMAGES), deepreduce.reduce_to(teacher, point).eval()(IMAGES))


def test_reduced_narrow_students_inherit_the_channels_of_the_narrow_network():
    teacher = ModelSource("resnet18", 0.125).build(SHAPE, 5, seed=1)
    narrow, student = deepreduce.reshape(teacher, alpha=0.25), deepreduce.reduce_to(teacher, "S2^RT+S3, alpha=0.25")
    for network in (narrow, student):
        copy_weights(teacher, network)
    assert all(torch.equal(narrow.state_dict()[name], value) for name, value in student.state_dict().items())
    known = teacher.body.state_dict()
    squares = {name: known[f"{name}.weight"].square().sum((1, 2, 3)) for name in ("conv1", "layer1.0.conv1")}
    added = squares["conv1"] + sum(known[f"layer1.{k}.conv2.weight"].square().sum((1, 2, 3)) for k in (0, 1))
    rows, columns = (norms.topk(2).indices.sort().values for norms in (squares["layer1.0.conv1"], added))
    expected = known["layer1.0.conv1.weight"][rows][:, columns]
    assert torch.equal(student.body.get_submodule("layer1.0.conv1").weight, expected)


def test_what_is_not_understood_stays_fresh():
    class Joined(nn.Module):
        def __init__(self, width=8):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, width, 3), nn.Conv2d(3, width, 3)
            self.last = nn.Conv2d(2 * width, 4, 1)
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            x = torch.cat([torch.relu(self.a(x)), torch.relu(self.b(x))], 1)
            return self.fc(torch.relu(self.last(x)).mean((2, 3)))

    source, target = (deepreduce.network(Joined(width), SHAPE) for width in (8, 4))
    before = copy.deepcopy(target.state_dict())
    copy_weights(source, target)
    assert torch.equal(target.body.fc.weight, source.body.fc.weight)
    assert torch.equal(target.body.a.weight, before["body.a.weight"])


def test_a_linear_layer_on_a_flattened_map_keeps_each_channels_features():
    class Flat(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
            self.fc = nn.Linear(width * 16, 2)

        def forward(self, x):
            return self.fc(torch.relu(self.bn(self.conv(x))).flatten(1))

    source, target = (deepreduce.network(Flat(width), (3, 4, 4)).eval() for width in (6, 2))
    with torch.no_grad():
        source.body.conv.weight[[1, 4]] *= 9
    copy_weights(source, target)
    assert torch.equal(target.body.conv.weight, source.body.conv.weight[[1, 4]])
    expected = source.body.fc.weight.unflatten(1, (6, 16))[:, [1, 4]].flatten(1)
    assert torch.equal(target.body.fc.weight, expected)
