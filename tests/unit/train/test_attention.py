"""Attention maps: the distance, the places in a network that it is taken at, and what a training makes of it."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

import deepreduce
from deepreduce.errors import ModelError
from deepreduce.networks import ModelSource
from deepreduce.networks.features import stage_ends, with_features
from deepreduce.reduce.annealing import anneal_to
from deepreduce.train import Recipe, fit, make_recipe
from deepreduce.train.attention import attention_distance, attention_map
from deepreduce.train.augment import Batch
from deepreduce.train.distill import objective
from small_data import stripes_dataset

RESNET18 = ModelSource("resnet18", 0.0625).build((3, 16, 16), 5)
IMAGES = torch.randn(3, 3, 16, 16)
DATA = stripes_dataset()


def test_the_distance_is_the_authors():
    ours, theirs = torch.randn(4, 6, 5, 5), torch.randn(4, 3, 5, 5)

    def at(x):  # github.com/szagoruyko/attention-transfer
        return nn.functional.normalize(x.pow(2).mean(1).view(x.size(0), -1))

    assert torch.allclose(attention_distance([ours], [theirs]), (at(ours) - at(theirs)).pow(2).mean())
    assert attention_distance([ours], [3 * ours]) < 1e-12  # the scale is divided out
    two = attention_distance([ours, theirs], [theirs, ours])
    assert torch.allclose(two, 2 * attention_distance([ours], [theirs]))
    assert torch.allclose(attention_distance([ours], [ours, theirs]), attention_distance([ours], [theirs]))
    assert attention_map(ours.bfloat16()).dtype == torch.float32


def test_maps_of_other_sides_are_averaged_to_the_smaller():
    small, large = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)
    down = attention_map(large).unflatten(2, (4, 2)).unflatten(1, (4, 2)).mean((2, 4))
    expected = attention_distance([attention_map(small).sqrt().unsqueeze(1)], [down.sqrt().unsqueeze(1)])
    assert torch.allclose(attention_distance([small], [large]), expected)
    assert torch.allclose(attention_distance([large], [small]), expected)


def test_no_map_makes_the_loss_no_number():
    dead = torch.zeros(2, 3, 4, 4, requires_grad=True)
    attention_distance([dead], [torch.randn(2, 3, 4, 4)]).backward()
    assert torch.isfinite(dead.grad).all()


def test_the_loss_adds_it_beside_a_teacher_only():
    torch.manual_seed(0)
    logits, teacher = torch.randn(4, 3), torch.randn(4, 3)
    maps, known = [torch.randn(4, 2, 3, 3)], [torch.randn(4, 2, 3, 3)]
    batch = Batch(torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]))
    recipe = Recipe(attention_weight=10.0)
    plain = objective(logits, batch, recipe, teacher)
    assert torch.allclose(
        objective(logits, batch, recipe, teacher, maps, known), plain + 10 * attention_distance(maps, known)
    )
    assert torch.equal(objective(logits, batch, recipe, None, maps), objective(logits, batch, recipe, None))


def test_the_ends_of_stages_in_the_teacher_and_where_they_are_gone():
    assert [n.meta["path"] for n in stage_ends(RESNET18)] == [f"layer{k}.1.relu_1" for k in (1, 2, 3, 4)]
    thinned = deepreduce.reduce_to(RESNET18, "S3^RT")
    assert [n.meta["path"] for n in stage_ends(thinned)] == [
        "layer1.1.add", "layer2.1.add", "layer3.1.relu_1", "layer4.1.add"
    ]  # fmt: skip
    fading, _ = anneal_to(RESNET18, "S3^RT")
    assert [n.meta["path"] for n in stage_ends(fading)] == [n.meta["path"] for n in stage_ends(RESNET18)]
    again = deepreduce.cull(deepreduce.cull(RESNET18, {"S1"}), {"S2"})  # a rewrite of a rewrite knows, too
    assert [n.meta["path"] for n in stage_ends(again)][:2] == ["layer1.1.add", "layer2.1.add"]


@pytest.mark.parametrize("point", ["full", "S2+S3", "S3^RT", "none", "S2^RT, alpha=0.5, rho=0.5"])
def test_a_tapped_network_answers_the_same_and_shares_everything(point):
    network = deepreduce.reduce_to(RESNET18, point)
    plain = copy.deepcopy(network)
    looking = with_features(network)
    assert {id(p) for p in looking.parameters()} == {id(p) for p in network.parameters()}
    logits, maps = looking(IMAGES)
    assert torch.equal(logits, plain(IMAGES))
    assert [m.shape[2] for m in maps] == [round(side * network.point.rho) for side in (16, 8, 4, 2)]
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), plain.buffers(), strict=True))
    network.eval()
    assert torch.equal(looking(IMAGES)[0], network(IMAGES))


def test_margins_are_cropped_from_where_they_are():
    """Far from the border both paddings compute the same, at the same place."""
    full = ModelSource("resnet18", 0.0625).build((3, 32, 32), 5)
    images = torch.randn(2, 3, 32, 32)
    padded, plain = (deepreduce.reduce_to(full, "S3^RT", front_padding=on).eval() for on in (True, False))
    ours, theirs = (with_features(network)(images)[1] for network in (padded, plain))
    for map_, expected, reach in zip(ours[:2], theirs[:2], (5, 6), strict=True):
        inside = (..., slice(reach, -reach), slice(reach, -reach))
        assert map_.shape == expected.shape
        assert torch.allclose(map_[inside], expected[inside], atol=1e-4)
        assert not torch.allclose(map_, expected, atol=1e-2)


@torch.no_grad()
def test_a_student_that_is_its_teacher_has_no_distance():
    teacher = copy.deepcopy(RESNET18).eval()
    same, fade = anneal_to(teacher, "S3", front_padding=False)
    assert float(attention_distance(with_features(same.eval())(IMAGES)[1], with_features(teacher)(IMAGES)[1])) < 1e-12
    fade.set(0.0)
    assert float(attention_distance(with_features(same)(IMAGES)[1], with_features(teacher)(IMAGES)[1])) > 1e-6


def test_networks_without_maps_or_traces():
    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2))

        def forward(self, x):
            return self.layers(x)

    assert with_features(deepreduce.network(Mlp(), (3, 2, 2)))(torch.randn(2, 3, 2, 2))[1] == ()
    with pytest.raises(ModelError, match="not a traced network"):
        with_features(Mlp())


def test_training_with_maps_brings_them_together():
    def net(seed):
        return ModelSource("resnet6", 0.125).build(DATA.input_shape, 2, seed)

    quick = make_recipe("quick", epochs=3, batch_size=16, crop_padding=1)
    teacher = net(1)
    fit(teacher, DATA, quick)
    distances = []
    for weight in (0.0, 1000.0):
        student = deepreduce.reduce_to(net(2), "S3")
        fit(student, DATA, dataclasses.replace(quick, attention_weight=weight), teacher=teacher, tap=with_features)
        images = (DATA.validation.images.float() - 120) / 60
        maps = (with_features(network.eval())(images)[1] for network in (student, teacher))
        distances.append(attention_distance(*maps).item())
    assert distances[1] < 0.5 * distances[0]
