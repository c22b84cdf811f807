"""Merged segments of the built-in networks: which ops are left, and that they compute the same."""

from math import prod

import numpy as np
import pytest
import torch
from torch import nn

from deepreduce.export import merge_ops, with_rescales
from deepreduce.export.merging.eliminate import merge
from deepreduce.export.merging.from_ops import graph_of, op_shapes
from deepreduce.export.merging.linear_graph import (
    LinearLink,
    Value,
    composed,
    identity,
    reads_inside,
    together,
    trimmed,
)
from deepreduce.export.merging.merge import PrivateCosts
from deepreduce.export.merging.to_ops import emit
from deepreduce.lowering import Lowered, convs, lower
from deepreduce.networks import ModelSource, Network
from deepreduce.plan import PARAMETER_SETS, Add, AvgPool, Concat, Conv, Flatten, Linear, Relu, Rescale
from deepreduce.plan.cost.latency import linear_seconds
from deepreduce.plan.execution.packing import choose, response_bytes, upload_bytes
from deepreduce.plan.validation import weight_shape
from deepreduce.reduce import front_padded, reduce_to
from real_ops import assert_same, randomized, run


def merged(name, point, width=0.125):
    network = reduce_to(ModelSource(name, width).build((3, 32, 32), 10), point)
    lowered = lower(randomized(network))
    return network, lowered, merge_ops(lowered)


def kinds(lowered):
    return [type(op).__name__ for op in lowered.ops]


@pytest.mark.parametrize(
    ("name", "point", "before", "after", "rescales"),
    [
        ("resnet18", "full", 21, 21, 0),
        ("resnet18", "S2^RT+S3^RT+S4^RT", 21, 7, 0),
        ("resnet18", "S2+S3", 21, 11, 0),
        ("resnet18", "S3, rho=0.5", 21, 6, 0),
        ("resnet18", "none", 21, 1, 0),
        ("vgg16", "full", 14, 14, 0),
        ("mobilenet_v1", "full", 28, 28, 0),
        ("mobilenet_v1", "S2", 28, 5, 0),
    ],
)
def test_merged_networks_compute_the_same(name, point, before, after, rescales):
    network, _, ops = merged(name, point)
    assert_same(network, ops)
    plain = lower(reduce_to(ModelSource(name, 0.125).build((3, 32, 32), 10), point, front_padding=False))
    assert (convs(plain), convs(ops)) == (before, after)
    assert sum(isinstance(op, Rescale) for op in with_rescales(ops).ops) == rescales
    shapes = op_shapes(ops)
    assert sum(prod(shapes[op.name]) for op in ops.ops if isinstance(op, Relu)) == network.relus


def test_relu6_merges_into_its_neighbors():
    network, lowered, ops = merged("mobilenet_v2", "S2+S3")
    assert_same(network, lowered)
    assert_same(network, ops)
    assert convs(ops) < convs(lowered) / 2
    shapes = op_shapes(ops)
    assert sum(prod(shapes[op.name]) for op in ops.ops if isinstance(op, Relu)) == network.relus


def test_a_network_with_all_its_relus_keeps_its_ops():
    _, lowered, ops = merged("resnet18", "full")
    assert [(op.name, op.inputs) for op in ops.ops] == [(op.name, op.inputs) for op in lowered.ops]
    for name, (weights, bias) in ops.weights.items():
        assert np.array_equal(weights, lowered.weights[name][0])
        assert np.array_equal(bias, lowered.weights[name][1])


def test_a_thinned_block_is_one_convolution():
    _, _, ops = merged("resnet18", "S1+S2^RT+S3+S4", 1)
    found = {op.name: op for op in ops.ops}
    assert found["layer2.0.relu_1"].inputs == ("layer2.0.add",)
    strided = found["layer2.0.add"]  # with its projection
    assert (strided.inputs, strided.kernel, strided.stride) == (("layer1.1.relu_1",), (7, 7), (2, 2))
    block = found["layer2.1.add"]  # with its shortcut
    assert (type(block), block.inputs, block.kernel) == (Conv, ("layer2.0.relu_1",), (5, 5))
    assert not any(isinstance(op, Rescale) for op in with_rescales(ops).ops)
    assert not any(isinstance(op, Add) for op in ops.ops if op.name.startswith("layer2"))


def test_a_culled_stage_is_one_convolution():
    class First(nn.Module):  # stem and S1 alone
        def __init__(self):
            super().__init__()
            self.net = ModelSource("resnet18").build((3, 32, 32), 10).body
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            x = self.net.bn1(self.net.conv1(x))
            for block in (self.net.layer1.get_submodule("0"), self.net.layer1.get_submodule("1")):
                x = block.bn2(block.conv2(block.bn1(block.conv1(x)))) + x
            return self.fc(torch.relu(x).mean((2, 3)))

    network = front_padded(Network.of(First(), (3, 32, 32), verify=False))
    ops = merge_ops(lower(randomized(network)))
    assert_same(network, ops)
    assert kinds(ops) == ["Conv", "Relu", "AvgPool", "Flatten", "Linear"]
    assert (ops.ops[0].kernel, ops.ops[0].padding, ops.ops[0].out_channels) == ((11, 11), (5, 5, 5, 5), 64)


def test_a_culled_last_stage_is_the_classifier():
    _, _, ops = merged("resnet18", "S1+S2+S3")
    last = ops.ops[-1]
    assert (type(last), last.name) == (Linear, "fc")
    assert ops.ops[-2].inputs == ("layer3.1.relu_1",)
    assert ops.weights["fc"][0].shape == (10, 32 * 8 * 8)


def homomorphic(lowered):
    """Seconds and bytes of all linear ops by the model."""
    parameters, shapes = PARAMETER_SETS["rlwe-4096"], op_shapes(lowered)
    seconds = sent = 0.0
    for op in lowered.ops:
        if isinstance(op, Conv | Linear):
            operand = shapes[op.inputs[0]]
            packing = choose(op, operand, parameters, 32)
            seconds += linear_seconds(packing, prod(weight_shape(op, operand)), parameters).offline
            sent += packing.uploads * upload_bytes(parameters) + sum(response_bytes(packing, 32))
    return seconds, sent


def test_merging_pays():
    network, _, ops = merged("resnet18", "S2^RT+S3^RT+S4^RT", 1)
    assert not any(isinstance(op, Rescale | Add) for op in with_rescales(ops).ops)
    plain = with_rescales(lower(reduce_to(ModelSource("resnet18").build(), network.point, front_padding=False)))
    assert sum(isinstance(op, Rescale) for op in plain.ops) == 11
    before, after = homomorphic(plain), homomorphic(ops)
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.7 * before[1]


def test_a_pool_that_nothing_merges_with_stays():
    _, _, ops = merged("resnet18", "S4")
    assert [op.name for op in ops.ops if isinstance(op, AvgPool)] == ["avgpool"]


def test_links_compose_as_their_formula_says():
    inner, outer = (
        LinearLink("x", (3, 3), (2, 2), (-1, -1), 1, "weights"),
        LinearLink("n", (5, 5), (2, 2), (-2, 0), 1, "weights"),
    )
    both = composed(outer, inner)
    assert (both.operand, both.kernel, both.stride, both.origin) == ("x", (11, 11), (4, 4), (-5, -1))
    crop = composed(identity("n", 4, (2, 2)), inner)
    assert (crop.kind, crop.kernel, crop.origin) == ("weights", (3, 3), (3, 3))
    assert composed(identity("n", 4, (2, 2)), identity("x", 4, (-2, -2))).plain
    total = together(LinearLink("x", (3, 3), (1, 1), (-1, -1), 4, "weights"), identity("x", 4))
    assert (total.kernel, total.origin, total.groups, total.kind) == ((3, 3), (-1, -1), 4, "weights")


def test_taps_that_nothing_reads_go():
    link = LinearLink("x", (3, 21), (2, 2), (-1, -7), 1, "weights", weights=np.ones((2, 1, 3, 21)))
    small = trimmed(link, (1, 1, 8), (2, 1, 1))
    assert (small.kernel, small.stride, small.origin) == ((1, 8), (1, 1), (0, 0))
    assert small.weights.shape == (2, 1, 1, 8)
    assert reads_inside(small, (1, 1, 8), (2, 1, 1))


def test_what_no_plan_can_hold_is_never_chosen():
    costs = PrivateCosts("ot", 32)
    wide = LinearLink("x", (65, 65), (1, 1), (0, 0), 1, "weights")
    assert costs.link(wide, Value((1, 70, 70)), Value((1, 6, 6))) == float("inf")
    assert costs.link(
        LinearLink("x", (70, 70), (1, 1), (0, 0), 1, "weights"), Value((1, 70, 70)), Value((4, 1, 1), vector=True)
    )


def test_the_graph_of_a_classifier_reads_the_map():
    network = reduce_to(ModelSource("resnet18", 0.125).build((3, 32, 32), 10), "full")
    graph = graph_of(lower(network))
    assert graph["layer4.1.relu_1"].source
    assert graph["avgpool"].links[0].kind == "pool"
    assert graph["fc"].pinned
    assert graph["fc"].vector


class Joined(nn.Module):
    """A ReLU, something between, and a concatenation or sum that a classifier reads at every place."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv = kind, nn.Conv2d(2, 2, 3, padding=1)
        self.fc = nn.Linear({"cropped": 50, "padded": 98, "crop and join": 100, "constant": 100}.get(kind, 144), 3)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        if self.kind == "constant":
            x = torch.max_pool2d(torch.cat([nn.functional.relu6(x) + 0.5, torch.max_pool2d(x, 3, 1, 1)], 1), 2, 1)
        if self.kind in {"cropped", "padded"}:
            x = nn.functional.pad(x, (0, -1, 0, -1) if self.kind == "cropped" else (0, 1, 0, 1))
        if self.kind == "crop and join":
            x = nn.functional.pad(torch.cat([x, x], 1), (0, -1, 0, -1))
        return self.fc(torch.cat([x, x], 1).flatten(1) if self.kind == "pairs" else x.flatten(1))


class Fewest:
    """Costs for which fewer linear ops are always better."""

    def link(self, link, operand, result):
        return 0.0 if link.kind == "pool" else 1.0

    def addition(self, shape):
        return 0.01

    def rescale(self, shape):
        return 0.1


@pytest.mark.parametrize("kind", ["constant", "cropped", "padded", "crop and join", "pairs"])
def test_constants_pads_and_crops_beside_a_concatenation_stay(kind):
    torch.manual_seed(0)
    network = Network.of(Joined(kind), (2, 6, 6), verify=False).eval().double()
    lowered = lower(network)
    assert_same(network, merge_ops(lowered))
    assert_same(network, emit(merge(graph_of(lowered), Fewest()), lowered))


def test_a_bias_beside_concatenated_features_is_computed_as_features():
    """One of the operands is merged into the concatenation, so that the others are multiplied by zeros and ones."""
    rng = np.random.default_rng(0)
    ops = (
        Relu("r", ("input",), 0, 0, 0), Flatten("left", ("r",)), Flatten("flat", ("r",)),
        Linear("right", ("flat",), 3, True, 0, 0), Concat("both", ("left", "right")),
    )  # fmt: skip
    lowered = Lowered((2, 3, 3), ops, {"right": (rng.standard_normal((3, 18)), rng.standard_normal(3))})
    graph = graph_of(lowered)
    left = emit(with_values(graph, "right"), lowered)
    images = rng.standard_normal((2, 2, 3, 3))
    torch.testing.assert_close(run(left, images), run(lowered, images))


def with_values(graph, gone):
    """``graph`` without one value, its weights in its reader."""

    class Without(Fewest):
        def addition(self, shape):
            return 0.0

        def link(self, link, operand, result):
            return 1.0 if link.operand != gone and link.kind == "weights" and result.shape[0] == 3 else 0.0

    found = merge(graph, Without())
    assert gone not in found
    return found
