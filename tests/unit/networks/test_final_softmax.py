"""A final softmax is left out of a network, whatever its spelling, and nothing else is."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepreduce.networks import Network, count
from deepreduce.reduce import reduce_to

IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
ENDS = {
    "softmax": [
        nn.Softmax(dim=1),
        nn.Softmax(dim=-1),
        lambda x: F.softmax(x, 1),
        lambda x: torch.softmax(x, dim=-1),
        lambda x: x.softmax(1),
    ],
    "log_softmax": [nn.LogSoftmax(1), lambda x: F.log_softmax(x, dim=1), lambda x: x.log_softmax(-1)],
}


class Classifier(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.early, self.late = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.top = nn.Linear(4, 3)
        self.end = end if isinstance(end, nn.Module) else None
        self.ending = end

    def logits(self, x):
        return self.top(F.relu(self.late(F.relu(self.early(x)))).mean((2, 3)))

    def forward(self, x):
        return self.logits(x) if self.ending is None else self.ending(self.logits(x))


@pytest.mark.parametrize(("name", "end"), [(name, end) for name, ends in ENDS.items() for end in ends])
def test_a_final_softmax_is_left_out(name, end):
    module = Classifier(end).eval()
    network = Network.of(module, (1, 8, 8))
    with torch.no_grad():
        assert torch.allclose(network(IMAGES), module.logits(IMAGES), atol=1e-6)
        assert not torch.allclose(network(IMAGES), module(IMAGES), atol=1e-2)
    assert network.num_classes == 3
    assert network.state_dict().keys() == {f"body.{key}" for key in module.state_dict()}
    (notice,) = network.left_out
    assert f"the final {name} is left out" in notice and "logits" in notice
    assert reduce_to(network, "S2").left_out == (notice,), "a reduced network still says so"
    assert notice in count(network).notices


@pytest.mark.parametrize(
    "end",
    [
        None,
        nn.Identity(),
        lambda x: F.softmax(x, 0),  # over the images
        lambda x: F.softmax(x, 1) + x,
        lambda x: F.softmax(x, 1) * 2,
        torch.sigmoid,
    ],
)
def test_what_is_no_final_softmax_stays(end):
    module = Classifier(end).eval()
    network = Network.of(module, (1, 8, 8))
    with torch.no_grad():
        assert torch.allclose(network(IMAGES), module(IMAGES), atol=1e-6)
    assert network.left_out == ()
