"""A search refuses before any training what no plan can hold, and leaves out the kinds of candidates that none can."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepreduce.errors import ModelError
from deepreduce.networks import Network
from deepreduce.search.private_check import check_private, kinds_without_plan


class Staged(nn.Module):
    """Two stages, an operation of the test's own, and a pool to ``side`` x ``side``."""

    def __init__(self, operation, side=1):
        super().__init__()
        self.early, self.late = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.middle = operation
        self.pool, self.top = nn.AdaptiveAvgPool2d(side), nn.Linear(4 * side * side, 3)

    def forward(self, x):
        x = F.relu(self.late(self.middle(F.relu(self.early(x)))))
        return self.top(self.pool(x).flatten(1))


class Chunked(nn.Module):
    def forward(self, x):
        return torch.cat(x.chunk(2, 1), 1)


@pytest.mark.parametrize(
    ("operation", "says", "remedy"),
    [
        (nn.GELU(), "middle: gelu cannot", "replace them by ReLU"),
        (nn.SiLU(), "middle: silu cannot", "replace them by ReLU"),
        (nn.LeakyReLU(), "middle: leaky_relu cannot", "replace them by ReLU"),
        (nn.PReLU(), "middle: prelu cannot", "replace them by ReLU"),
        (nn.Sigmoid(), "middle: sigmoid cannot", "replace it by a ReLU"),
        (nn.GroupNorm(2, 4), "middle: group_norm cannot", "use batch normalization"),
        (nn.InstanceNorm2d(4), "middle: instance_norm2d cannot", "use batch normalization"),
        (nn.Softmax(1), "middle: softmax cannot", "plans have convolutions"),
        (nn.Upsample(scale_factor=2), "middle: upsample cannot", "plans have convolutions"),
        (Chunked(), "chunk cannot", "plans have convolutions"),
    ],
)
def test_operations_that_no_plan_has_are_named(operation, says, remedy):
    network = Network.of(Staged(operation), (1, 8, 8))
    with pytest.raises(ModelError) as caught:
        check_private(network)
    assert says in caught.value.message and caught.value.message.startswith("the network cannot run in private: ")
    assert remedy in caught.value.hint and "`private=False`" in caught.value.hint


def test_what_a_plan_has_passes():
    network = Network.of(Staged(nn.BatchNorm2d(4)), (1, 8, 8))
    check_private(network)
    assert kinds_without_plan(network, 0.5, 0.5, front_padding=True) == {}


def test_a_kind_of_candidates_that_no_plan_can_hold():
    """12x12 images leave 6x6, which 2x2 divides; at half the resolution 3x3 are left, which it does not."""
    network = Network.of(Staged(nn.Identity(), side=2), (1, 12, 12))
    check_private(network)
    reasons = kinds_without_plan(network, 1.0, 0.5, front_padding=True)
    assert reasons.keys() == {"resolution", "both"}
    assert "pool: adaptive_avg_pool2d cannot be put into a plan (3x3 does not divide" in reasons["resolution"]
