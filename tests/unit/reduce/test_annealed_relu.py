"""ReLUs that fade: the same network as the reduced one at the end, the teacher at the beginning."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import deepreduce
from deepreduce.networks import ModelSource
from deepreduce.reduce.annealed_relu import Anneal, AnnealedReLU
from deepreduce.reduce.annealing import anneal_to
from deepreduce.reduce.front_padding import front_padded, is_front_padded, without_front_padding

RESNET18 = ModelSource("resnet18", 0.0625).build((3, 16, 16), 5)
POINTS = ("S2^RT+S3^RT+S4^RT", "S2+S3", "S2*+S3^RT[outer]", "none", "S1+S2^RT, alpha=0.5, rho=0.5", "full")
IMAGES = torch.randn(3, 3, 16, 16)


def randomized(network, seed=0):
    """With statistics and biases as after training, so that nothing is hidden by a zero."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias, 0, 0.2)
    return network


def pair(model, point, **options):
    """The reduced network and its fading form with the same weights."""
    reduced = randomized(deepreduce.reduce_to(model, point, **options))
    fading, fade = anneal_to(model, point, **options)
    fading.load_state_dict(reduced.state_dict())
    return reduced, fading, fade


@pytest.mark.parametrize("kind", ["relu", "relu6"])
def test_a_fading_relu_is_what_it_says(kind):
    fade = Anneal()
    layer = AnnealedReLU(fade, kind)
    x = torch.cat([torch.randn(100, dtype=torch.float64) * 5, torch.zeros(1, dtype=torch.float64)]).requires_grad_()
    relu = F.relu if kind == "relu" else F.relu6
    for c in (1.0, 0.75, 0.3, 0.0):
        fade.set(c)
        expected = c * relu(x) + (1 - c) * x
        assert torch.allclose(layer(x), expected, atol=1e-12)
        ours, theirs = (torch.autograd.grad(y.sum(), x)[0] for y in (layer(x), c * relu(x) + (1 - c) * x))
        assert torch.allclose(ours[:-1], theirs[:-1])
    assert layer(x) is x
    fade.set(1.0)
    assert torch.equal(layer(x), relu(x))
    assert not layer.state_dict()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("front_padding", [True, False])
def test_faded_it_is_the_reduced_network_bit_for_bit(point, front_padding):
    reduced, fading, fade = pair(RESNET18, point, front_padding=front_padding)
    assert fading.state_dict().keys() == reduced.state_dict().keys()
    assert (fading.relus, str(fading.point)) == (reduced.relus, str(reduced.point))
    assert is_front_padded(fading) == is_front_padded(reduced)
    fade.set(0.0)
    for training in (True, False):
        ours, theirs = copy.deepcopy(fading).train(training), copy.deepcopy(reduced).train(training)
        for network in (ours, theirs):
            network(IMAGES).square().sum().backward()
        assert torch.equal(ours(IMAGES), theirs(IMAGES))
        gradients = ({name: p.grad for name, p in network.named_parameters()} for network in (ours, theirs))
        first, second = gradients
        assert all(torch.equal(first[name], second[name]) for name in second)
    if point != "full":
        fade.set(0.5)
        assert not torch.allclose(fading.eval()(IMAGES), reduced.eval()(IMAGES), atol=1e-4)


@pytest.mark.parametrize("name", ["resnet9", "wrn-22-8", "vgg16", "mobilenet_v2"])
def test_unfaded_with_the_teachers_weights_it_is_the_teacher(name):
    teacher = randomized(ModelSource(name, 0.0625).build((3, 32, 32), 5)).eval()
    stages = teacher.layout.ranked_stages
    images = torch.randn(2, 3, 32, 32)
    for point in ("none", "+".join(stages[:2]), f"{stages[1]}^RT"):
        fading, fade = anneal_to(teacher, point, front_padding=False)
        assert torch.equal(fading.eval()(images), teacher(images))
        fade.set(0.0)
        assert torch.equal(fading(images), deepreduce.reduce_to(teacher, point, front_padding=False)(images))


def test_the_padding_moves_through_fading_relus():
    reduced, fading, _ = pair(RESNET18, "S2+S3")
    shapes = {node.meta["path"]: node.meta["shape"] for node in reduced.body.graph.nodes}
    ours = {node.meta["path"]: node.meta["shape"] for node in fading.body.graph.nodes}
    assert {path: ours[path] for path in shapes} == shapes
    assert ours["relu"] == ours["bn1"] == (2, 4, 25, 25)  # a margin of front padding around 16x16
    plain = anneal_to(RESNET18, "S2+S3", front_padding=False)[0]
    assert list(map(str, without_front_padding(fading).body.graph.nodes)) == list(map(str, plain.body.graph.nodes))


def test_a_users_network_of_shared_and_functional_relus_fades():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, padding=1)
            self.second = nn.Conv2d(8, 8, 3, padding=1, stride=2)
            self.act = nn.ReLU6(inplace=True)
            self.fc = nn.Linear(8, 4)

        def forward(self, x):
            x = self.act(self.first(x))
            x = x + F.relu(x - 1)
            x = self.act(self.second(x))
            return self.fc(F.relu(x.mean((2, 3))))

    model = deepreduce.network(Own(), (3, 8, 8)).eval()
    images = 3 * torch.randn(4, 3, 8, 8)
    for point in ("S1", "S2+S3", "none", "S2, alpha=0.5"):
        reduced, fading, fade = pair(model, point)
        fading.eval(), reduced.eval()
        fade.set(0.0)
        assert torch.equal(fading(images), reduced(images))
    fading, _ = anneal_to(model, "S1", front_padding=False)
    assert torch.equal(fading.eval()(images), model(images))


def test_copies_fade_together_and_a_less_reduced_network_can_begin():
    start = deepreduce.reduce_to(RESNET18, "S2+S3+S4")
    fading, fade = anneal_to(start, "S3^RT")
    average = copy.deepcopy(fading).eval()
    assert sum(isinstance(m, AnnealedReLU) for m in fading.modules()) == len(start.relu_nodes()) - 2
    before = average(IMAGES)
    fade.set(0.0)
    assert not torch.equal(average(IMAGES), before)
    assert front_padded(fading).relus == fading.relus


@pytest.mark.parametrize("front_padding", [True, False])
def test_relus_that_the_origin_of_the_weights_lacks_do_not_come_back(front_padding):
    origin = randomized(deepreduce.reduce_to(RESNET18, "S2+S3", front_padding=False))
    begin = {"front_padding": front_padding, "present": origin.relu_nodes()}
    fading, fade = anneal_to(RESNET18, "S2^RT+S3^RT", **begin)
    reduced = deepreduce.reduce_to(RESNET18, "S2^RT+S3^RT", front_padding=front_padding)
    for network in (fading, reduced):
        network.load_state_dict(origin.state_dict())
        network.eval()
    origin.eval()
    if not front_padding:
        assert torch.equal(fading(IMAGES), origin(IMAGES))
    fade.set(0.0)
    assert torch.equal(fading(IMAGES), reduced(IMAGES))
    assert not torch.allclose(origin(IMAGES), reduced(IMAGES))
