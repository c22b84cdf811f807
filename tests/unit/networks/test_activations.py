"""Networks whose activations are not ReLUs: what to do is said, with the modules found and how many."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import deepreduce
from deepreduce.errors import ModelError
from deepreduce.export import export_network

MODULES = [
    nn.GELU, nn.SiLU, nn.Mish, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.Hardswish, nn.Hardtanh,
    nn.Softplus, nn.Softsign, nn.Tanh,
]  # fmt: skip
FUNCTIONS = [F.gelu, F.silu, F.mish, F.leaky_relu, F.elu, F.selu, F.hardswish, F.softplus, torch.tanh]
REMEDY = "replace them by ReLU and fine-tune"


def small(*activations: nn.Module) -> nn.Module:
    layers = [layer for one in activations for layer in (nn.Conv2d(3, 3, 3, padding=1), one)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 16, 2))


@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_modules_are_named_and_counted(kind):
    with pytest.raises(ModelError) as caught:
        deepreduce.network(small(kind(), kind(), kind(), kind()), (3, 4, 4))
    assert caught.value.message == f"the network has no ReLU, but 4 {kind.__name__} (1, 3, 5 and 1 more)"
    assert caught.value.hint.startswith(REMEDY)


class Functional(nn.Module):
    def __init__(self, function, first=lambda x: x):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3 * 16, 2)
        self.function, self.first = function, first

    def forward(self, x):
        return self.linear(self.function(self.first(self.conv(x))).flatten(1))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_functions_are_named(function):
    with pytest.raises(ModelError, match="the network has no ReLU, but 1 ") as caught:
        deepreduce.network(Functional(function), (3, 4, 4))
    assert caught.value.hint.startswith(REMEDY)


def test_beside_relus_they_are_a_notice_and_an_export_refuses_them():
    network = deepreduce.network(small(nn.ReLU(), nn.GELU(), nn.SiLU(), nn.GELU()), (3, 4, 4))
    assert len(network.notices) == 1, "said once, not for each name"
    assert network.notices[0].startswith(f"not counted: 2 GELU (3, 7), 1 SiLU (5); {REMEDY}")
    with pytest.raises(ModelError, match=r"cannot be put into a plan.*2 GELU \(3, 7\), 1 SiLU \(5\)") as caught:
        export_network(network.eval(), torch.zeros(2, 3, 4, 4))
    assert caught.value.hint.startswith(REMEDY)


def test_gates_of_one_image_are_not_taken_for_activations():
    """A sigmoid is a gate more often than an activation: what it costs is said, and nothing is advised."""
    notices = deepreduce.network(Functional(torch.sigmoid, torch.relu), (3, 4, 4)).notices
    assert "sigmoid" in notices[0] and REMEDY not in notices[0]


def needs(num_classes):
    return small(nn.ReLU()) if num_classes == 2 else None


def test_a_factory_that_needs_the_number_of_classes_gets_it_or_says_so():
    assert deepreduce.network(needs, (3, 4, 4), num_classes=2).num_classes == 2
    with pytest.raises(ModelError, match="needs the number of classes") as caught:
        deepreduce.network(needs, (3, 4, 4))
    assert "`classes` N" in caught.value.hint


def test_other_parameters_without_a_default_are_named():
    with pytest.raises(ModelError, match="needs num_classes, depth, drop") as caught:
        deepreduce.network(lambda num_classes, depth, *, drop: None, (3, 4, 4))
    assert "a default" in caught.value.hint
