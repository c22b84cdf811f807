"""Single elements removed from networks: names, counts, what is computed, what is exported."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

import deepreduce
from deepreduce.errors import ModelError, PointError
from deepreduce.export import with_rescales
from deepreduce.lowering import lower
from deepreduce.networks import ModelSource, Network, count
from deepreduce.networks.masked_relu import MaskedReLU
from deepreduce.plan import Relu, kept_mask
from deepreduce.reduce import cull, linearize, reduce_to, reshape
from deepreduce.reduce.elements.linearize import require_chosen
from deepreduce.reduce.front_padding import front_padded, without_front_padding
from real_ops import assert_same, randomized

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def net(name: str = "resnet10", width: float = 0.0625) -> Network:
    return randomized(ModelSource(name, width).build((3, 16, 16), 5, 0)).float().eval()


def random_masks(network: Network, share: float, seed: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = {site: node.meta["shape"][1:] for site, node in network.relu_nodes().items()}
    return {site: torch.rand(shape, generator=g) < share for site, shape in shapes.items()}


def by_hand(network: Network, masks: dict[str, torch.Tensor]):
    """The network's answers with each ReLU computed from its definition."""

    class Interpreter(torch.fx.Interpreter):
        def run_node(self, n):
            if n.meta["path"] in masks:
                x = self.env[n.args[0]]
                return torch.where(masks[n.meta["path"]], x.clamp(min=0), x)
            return super().run_node(n)

    return Interpreter(network.body).run(IMAGES)


@pytest.mark.parametrize("point", ["full", "S2+S3+S4", "S1^RT+S3^RT"])
def test_only_kept_elements_are_activated(point):
    network = reduce_to(net(), point)
    masks = random_masks(network, 0.4, 0)
    thinned = linearize(network, masks)
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert thinned.relus == kept == count(thinned).total.relus
    assert str(thinned.point) == f"{network.point}, relus={kept}"
    assert torch.equal(thinned(IMAGES), by_hand(network, masks))
    assert not torch.allclose(thinned(IMAGES), network(IMAGES))
    assert network.point.relus is None  # the one given is as it was
    assert thinned.notices == network.notices
    assert count(thinned).total.params == count(network).total.params


def test_gates_of_one_are_the_unreduced_network_and_its_gradients():
    network = reduce_to(net(), "S1+S2").train()
    gated = reduce_to(net(), "S1+S2, relus=100").train()
    assert gated.relus == network.relus
    for one in (network, gated):
        one(IMAGES).square().sum().backward()
    assert torch.equal(gated(IMAGES), network(IMAGES))
    theirs = dict(network.named_parameters())
    assert all(torch.equal(p.grad, theirs[name].grad) for name, p in gated.named_parameters())


def test_learned_gates_of_one_compute_the_same():
    gated = reduce_to(net(), "S1+S2, relus=100")
    expected = gated(IMAGES)
    for module in gated.modules():
        if isinstance(module, MaskedReLU):
            module.learned = True
    assert torch.allclose(gated(IMAGES), expected, atol=1e-5)


def test_no_gate_is_no_relu():
    network = reduce_to(net(), "S1+S2", front_padding=False)
    masks = {site: torch.zeros(node.meta["shape"][1:], dtype=torch.bool) for site, node in network.relu_nodes().items()}
    site = next(iter(masks))
    masks[site][0, 0, 0] = True
    one = linearize(network, masks)
    assert one.relus == 1
    none = reduce_to(net(), "none", front_padding=False)
    assert torch.allclose(by_hand(network, {**masks, site: masks[site] & False}), none(IMAGES), rtol=1e-4, atol=1e-4)
    with pytest.raises(PointError, match="no element keeps"):
        linearize(network, {name: mask & False for name, mask in masks.items()})


def test_weights_hold_the_kept_set():
    source = reduce_to(net(), "S2+S3, rho=0.5")
    thinned = linearize(source, random_masks(source, 0.3, 2))
    loaded = reduce_to(net(), str(thinned.point))
    assert loaded.relus > thinned.relus  # planned with all of them
    loaded.load_state_dict(thinned.state_dict())
    assert loaded.relus == thinned.relus
    assert torch.equal(loaded(IMAGES), thinned(IMAGES))
    masks, own = thinned.kept_elements(), loaded.kept_elements()
    assert masks.keys() == own.keys() == thinned.relu_nodes().keys()
    assert all(torch.equal(masks[site], own[site]) for site in masks)


def test_kept_sets_only_shrink():
    source = reduce_to(net(), "S2+S3")
    first = random_masks(source, 0.5, 3)
    once = linearize(source, first)
    site = next(iter(first))
    fewer = first[site].clone()
    fewer.view(-1)[fewer.view(-1).nonzero()[0]] = False
    assert linearize(once, {site: fewer}).relus == once.relus - 1
    with pytest.raises(PointError, match="have no ReLU"):
        linearize(once, {site: ~first[site]})


def test_whole_layers_go_first():
    source = reduce_to(net(), "S1+S2")
    thinned = linearize(source, random_masks(source, 0.5, 4))
    for rewrite in (
        lambda: cull(thinned, {"S1"}),
        lambda: reshape(thinned, alpha=0.5),
        lambda: reduce_to(thinned, "S2"),
    ):
        with pytest.raises(PointError, match="single elements were removed already"):
            rewrite()


def test_padding_moves_around_gates():
    source = reduce_to(net(), "S2+S3")
    thinned = linearize(source, random_masks(source, 0.5, 5))
    plain = without_front_padding(thinned)
    assert plain.relus == thinned.relus
    assert torch.allclose(front_padded(plain)(IMAGES), thinned(IMAGES), rtol=1e-5, atol=1e-5)


def test_refusals():
    network = net()
    site = next(iter(network.relu_nodes()))
    with pytest.raises(ModelError, match="did you mean"):
        linearize(network, {site + "x": torch.ones(1, dtype=torch.bool)})
    with pytest.raises(ModelError, match="is not a mask for a ReLU of"):
        linearize(network, {site: torch.ones(2, 2, dtype=torch.bool)})
    with pytest.raises(PointError, match="1000000000 cannot be kept"):
        reduce_to(network, "full, relus=1000000000")
    clipped = Network.of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(784, 3)), (3, 16, 16))
    with pytest.raises(ModelError, match="ReLU6"):
        linearize(clipped, {})
    with pytest.raises(ModelError, match="not a traced network"):
        linearize(nn.ReLU(), {})


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["resnet6", "vgg16"]), st.floats(0.01, 0.99), st.integers(0, 99), st.booleans())
def test_plans_carry_the_kept_sets(name, share, seed, whole):
    network = ModelSource(name, 0.0625).build((3, 32, 32), 3, 0)
    masks = random_masks(network, share, seed)
    sites = list(masks)
    masks[sites[seed % len(sites)]].fill_(whole)  # one layer keeps all or nothing
    thinned = linearize(network, masks) if any(mask.any() for mask in masks.values()) else network
    lowered = with_rescales(lower(randomized(thinned)))
    assert_same(thinned, lowered)
    ops = {op.name: op for op in lowered.ops if isinstance(op, Relu)}
    assert ops.keys() == {site for site, mask in masks.items() if mask.any()}
    for site, op in ops.items():
        assert np.array_equal(kept_mask(op, masks[site].numel()), masks[site].numpy().ravel())
        assert (op.kept is None) == bool(masks[site].all())


def test_from_the_front_door():
    network = deepreduce.network("resnet6", width=0.125)
    site = next(iter(network.relu_nodes()))
    half = torch.zeros(network.relu_nodes()[site].meta["shape"][1:], dtype=torch.bool)
    half[::2] = True
    assert linearize(network, {site: half}).relus == network.relus - half.numel() // 2


def test_a_number_of_elements_without_a_choice_is_no_network_to_count_or_export():
    network = net("resnet6")
    for refused in (lower, require_chosen):
        with pytest.raises(PointError, match="not which"):
            refused(reduce_to(network, "S2, relus=10"))
    assert require_chosen(network) is network
    lower(reduce_to(network, f"S2, relus={reduce_to(network, 'S2').relus}"))
