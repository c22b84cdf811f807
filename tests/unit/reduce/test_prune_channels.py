"""Channels pruned to a share of the multiplications."""

import pytest
import torch

from deepreduce.errors import ModelError, SettingError
from deepreduce.networks.counting import count
from deepreduce.networks.source import ModelSource
from deepreduce.reduce.build import reduce_to
from deepreduce.reduce.prune_channels import CLOSE, ChannelPruning, prune_channels


def network():
    return ModelSource("resnet6", 0.5).build((3, 16, 16), 10)


@pytest.mark.parametrize("criterion", ["l1", "fpgm"])
def test_the_share_of_macs_is_met(criterion):
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    narrow = prune_channels(model, ChannelPruning(criterion, 0.5))
    share = count(narrow).total.macs / count(model).total.macs
    assert 0.5 - 2 * CLOSE <= share <= 0.5
    assert narrow.relus < model.relus
    assert narrow.eval()(torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    again = prune_channels(model, ChannelPruning(criterion, 0.5))
    assert all(
        torch.equal(a, b) for a, b in zip(narrow.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_l1_keeps_the_large_filters():
    """Stem and first stage share their channels: those of half that are made large stay."""
    model = network()
    large = torch.arange(32) % 2 == 0
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 4 and len(parameter) == 32:
                parameter[~large] *= 1e-3
    narrow = prune_channels(model, ChannelPruning("l1", 0.3))
    kept = narrow.state_dict()["body.conv1.weight"]
    known = {tuple(filter.flatten().tolist()) for filter in model.state_dict()["body.conv1.weight"][large]}
    assert len(kept) <= 18
    assert sum(tuple(filter.flatten().tolist()) in known for filter in kept) >= min(len(kept), 16) - 1


def test_what_cannot_be_pruned_is_refused():
    for wrong in (("l1", 0.0), ("l1", 1.0), ("l3", 0.5)):
        with pytest.raises(SettingError):
            ChannelPruning(*wrong)
    with pytest.raises(ModelError, match="front"):
        prune_channels(reduce_to(network(), "S3", front_padding=True), ChannelPruning("l1", 0.5))
    with pytest.raises(ModelError, match="cannot be pruned to"):
        prune_channels(ModelSource("resnet6", 1 / 64).build((3, 8, 8), 10), ChannelPruning("l1", 0.05))
