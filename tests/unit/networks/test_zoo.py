"""The built-in networks: the counts of the paper's tables come out exactly."""

import pytest
import torch

from deepreduce.errors import ModelError, SettingError
from deepreduce.networks import ZOO, ModelSource, build_zoo, count
from deepreduce.networks.tracing.trace import trace

TABLE = {  # ReLUs at 3x32x32: stem, S1, S2, S3, S4, total
    "resnet18": (65_536, 262_144, 131_072, 65_536, 32_768, 557_056),
    "resnet34": (65_536, 393_216, 262_144, 196_608, 49_152, 966_656),
    "resnet10": (65_536, 131_072, 65_536, 32_768, 16_384, 311_296),
    "resnet9": (65_536, 65_536, 65_536, 32_768, 16_384, 245_760),
    "resnet6": (65_536, 65_536, 32_768, 16_384, 8_192, 188_416),
    "resnet56": (16_384, 294_912, 147_456, 73_728, 532_480),
}


@pytest.mark.parametrize("name", TABLE)
def test_published_relu_counts(name):
    profile = count(ModelSource(name).build())
    *stages, total = TABLE[name]
    assert [cost.relus for cost in profile.stages.values()] == stages
    assert list(profile.stages) == ["stem", *(f"S{k}" for k in range(1, len(stages)))]
    assert profile.total.relus == total


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_tiny_imagenet_has_four_times_the_relus(name):
    assert count(ModelSource(name).build((3, 64, 64), 200)).total.relus == 4 * TABLE[name][-1]


def test_macs_of_stem_and_first_stage():
    stages = count(ModelSource("resnet18").build()).stages  # 152.8 M, by hand: 3*9*64*32^2 + 4 * 64*9*64*32^2
    assert stages["stem"].macs + stages["S1"].macs == (3 * 9 * 64 + 4 * 64 * 9 * 64) * 1024


def test_parameters_of_resnet18_and_wrn():
    assert count(ModelSource("resnet18").build()).total.params == 11_220_132  # known from public implementations
    wide = count(ModelSource("wrn-22-8").build())
    assert wide.total.relus == 1_392_640
    assert wide.stages["stem"].relus == 16_384


def test_chains_have_no_stem_and_relu6_counts_twice():
    assert "stem" not in count(ModelSource("vgg16").build()).stages
    mobile = count(ModelSource("mobilenet_v2").build())
    assert all(
        layer.cost.relus == 2 * torch.Size(layer.shape).numel() for layer in mobile.layers if layer.op == "relu6"
    )
    assert mobile.total.relus == 3_069_952
    assert count(ModelSource("mobilenet_v1").build()).stages["S1"].relus == 131_072


@pytest.mark.parametrize("name", ZOO)
def test_every_network_takes_width_size_channels_and_classes(name):
    side = 2 * ZOO[name].downsampling
    network = ModelSource(name, width=0.25).build((1, side, side), 7)
    assert network.eval()(torch.zeros(2, 1, side, side)).shape == (2, 7)
    assert count(network).total.params == sum(p.numel() for p in network.parameters())
    module = build_zoo(name, width=0.25, input_shape=(1, side, side), num_classes=7)
    trace(module, (1, side, side), verify=True)  # left out when a search builds it


def test_refusals_name_the_value_and_the_remedy():
    with pytest.raises(ModelError, match=r"resnet57.*did you mean 'resnet56'"):
        build_zoo("resnet57")
    with pytest.raises(SettingError, match="multiples of 8"):
        build_zoo("resnet18", input_shape=(3, 30, 32))
    with pytest.raises(SettingError, match="width 0"):
        build_zoo("resnet18", width=0)
    with pytest.raises(SettingError, match="1 class"):
        build_zoo("resnet18", num_classes=1)
