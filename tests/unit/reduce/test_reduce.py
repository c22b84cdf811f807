"""The rewrites: counts of the paper's tables, purity, weights, names."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import deepreduce
from deepreduce.errors import ModelError, PointError, SettingError
from deepreduce.networks import ModelSource, count
from deepreduce.reduce import kept_sites
from relu_oracle import relus_called

RESNET18 = ModelSource("resnet18").build()

PAPER = {  # Tables 2, 4 and paper/notes: ReLUs
    "S2+S3+S4": 229_376,
    "S2^RT+S3^RT+S4^RT": 114_688,
    "S2^RT+S3^RT+S4^RT, alpha=0.5": 57_344,
    "S2^RT+S3^RT+S4^RT, rho=0.5": 28_672,
    "S2^RT+S3^RT+S4^RT, alpha=0.5, rho=0.5": 14_336,
    "S2+S3": 196_608,
    "S2^RT+S3^RT": 98_304,
    "S2^RT+S3^RT, alpha=0.5": 49_152,
    "S2^RT+S3^RT, rho=0.5": 24_576,
    "S2^RT+S3^RT, alpha=0.5, rho=0.5": 12_288,
    "S2^RT*+S3^RT*+S4^RT*, alpha=0.5, rho=0.5": 7_168,
}


@pytest.mark.parametrize("point", PAPER)
def test_counts_of_table_4(point):
    network = deepreduce.reduce_to(RESNET18, point)
    assert network.relus == PAPER[point] == relus_called(network, (3, 32, 32))
    assert str(network.point) == point
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 100)


def test_thinning_drops_the_inner_relu_of_each_block():
    thinned = deepreduce.thin(RESNET18, {"S2"})
    kept = [site for site in kept_sites(RESNET18.layout, thinned.point) if site.stage == "S2"]
    assert [site.after_merge for site in kept] == [True, True]
    outer = deepreduce.thin(RESNET18, {"S2"}, phase="outer")
    kept = [site for site in kept_sites(RESNET18.layout, outer.point) if site.stage == "S2"]
    assert [site.after_merge for site in kept] == [False, False]
    assert str(outer.point) == "stem+S1+S2^RT[outer]+S3+S4"


def test_rewrites_commute_and_compose():
    a = deepreduce.thin(deepreduce.cull(RESNET18, {"stem", "S1", "S4"}), {"S3"})
    b = deepreduce.cull(deepreduce.thin(RESNET18, {"S3"}), {"S4", "stem", "S1"})
    assert a.point == b.point == deepreduce.reduce_to(RESNET18, "S2+S3^RT").point
    assert list(a.relu_nodes()) == list(b.relu_nodes())
    c = deepreduce.keep_blocks(deepreduce.thin(a, {"S2"}), {"S2"})
    d = deepreduce.thin(deepreduce.keep_blocks(a, {"S2"}), {"S2"})
    assert list(c.relu_nodes()) == list(d.relu_nodes()) == ["layer2.1.relu_1", "layer3.0.relu_1", "layer3.1.relu_1"]


def test_rewrites_are_pure_and_keep_weights():
    before = {k: v.clone() for k, v in RESNET18.state_dict().items()}
    culled = deepreduce.cull(RESNET18, {"S1"})
    with torch.no_grad():
        for parameter in culled.parameters():
            parameter.zero_()
    assert all(torch.equal(v, before[k]) for k, v in RESNET18.state_dict().items())
    again = deepreduce.reshape(deepreduce.cull(RESNET18, {"S1"}), rho=0.5)
    assert all(torch.equal(v, before[k]) for k, v in again.state_dict().items())


def test_alpha_keeps_weights_where_shapes_allow():
    narrow = deepreduce.reshape(RESNET18, alpha=0.5)
    assert narrow.point.alpha == 0.5
    assert torch.equal(narrow.state_dict()["body.fc.bias"], RESNET18.state_dict()["body.fc.bias"])
    assert narrow.state_dict()["body.conv1.weight"].shape == (32, 3, 3, 3)
    quarter = deepreduce.reshape(narrow, alpha=0.5)
    assert quarter.point.alpha == 0.25
    assert quarter.relus == 557_056 // 4


def test_rho_shrinks_the_input_once():
    small = deepreduce.reshape(RESNET18, rho=0.5).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(small(images), RESNET18.eval()(F.avg_pool2d(images, 2)), atol=1e-5)
    assert count(small).total.macs == pytest.approx(count(RESNET18).total.macs / 4, rel=1e-3)


@pytest.mark.parametrize(
    ("rewrite", "error", "reason"),
    [
        (lambda n: deepreduce.cull(n, {"S9"}), PointError, "no stage 'S9'"),
        (lambda n: deepreduce.cull(deepreduce.cull(n, {"S1"}), {"S1"}), PointError, "no ReLUs left"),
        (lambda n: deepreduce.thin(n, {"stem"}), PointError, "single ReLU layer"),
        (lambda n: deepreduce.keep_blocks(n, {"S2"}, 2), PointError, "drops none"),
        (lambda n: deepreduce.keep_blocks(n, {"S2"}, 0), SettingError, "cannot keep 0"),
        (lambda n: deepreduce.reshape(n, alpha=0), SettingError, "alpha 0"),
        (lambda n: deepreduce.reshape(n, alpha=1.5), SettingError, "alpha 1.5"),
        (lambda n: deepreduce.reshape(n, rho=0.3), SettingError, "whole numbers"),
        (lambda n: deepreduce.reduce_to(deepreduce.cull(n, {"S2"}), "S2"), PointError, "cannot be made"),
        (lambda n: deepreduce.reduce_to(deepreduce.reshape(n, rho=0.5), "S2"), PointError, "larger than"),
        (lambda n: deepreduce.cull(nn.ReLU(), {"S1"}), ModelError, "deepreduce.network"),
    ],
)
def test_refusals(rewrite, error, reason):
    with pytest.raises(error, match=reason):
        rewrite(RESNET18)


class Grouped(nn.Module):
    """Grouped convolution, a shortcut and a concatenation: channels that must be pruned together."""

    def __init__(self, in_channels=3, num_classes=10, head=16 * 2):
        super().__init__()
        self.first = nn.Conv2d(in_channels, 16, 3, padding=1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(16)
        self.left, self.right = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, 2, 1)
        self.head = head
        self.fc = nn.Linear(32, num_classes)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = F.relu(self.norm(self.grouped(x)) + x)
        x = torch.cat([F.relu(F.avg_pool2d(self.left(x), 2)), F.relu(self.right(x))], 1)
        return self.fc(x.mean((2, 3)).view(-1, self.head))


def test_a_network_that_fixes_its_channels_is_refused():
    network = deepreduce.network(Grouped(head=32), (3, 16, 16))
    with pytest.raises(ModelError, match=r"scaled by 0\.5"):
        deepreduce.reshape(network, alpha=0.5)  # its view fixes 32 channels


class Free(Grouped):
    def forward(self, x):
        x = F.relu(self.first(x))
        x = F.relu(self.norm(self.grouped(x)) + x)
        x = torch.cat([F.relu(F.avg_pool2d(self.left(x), 2)), F.relu(self.right(x))], 1)
        return self.fc(x.mean((2, 3)))


def test_alpha_on_a_user_network():
    module = Free()
    module.grouped.requires_grad_(False)
    network = deepreduce.network(module, (3, 16, 16))
    narrow = deepreduce.reshape(deepreduce.cull(network, {"stem"}), alpha=0.5)
    assert narrow.point.alpha == 0.5
    assert narrow.relus == deepreduce.cull(network, {"stem"}).relus // 2 == relus_called(narrow, (3, 16, 16))
    kept = narrow.body.get_submodule("first").weight
    original = network.body.get_submodule("first").weight
    assert kept.shape[0] == 8
    assert [n for n, p in narrow.body.named_parameters() if not p.requires_grad] == ["grouped.weight", "grouped.bias"]
    assert all(any(torch.equal(row, old) for old in original) for row in kept)  # weights kept, not fresh
    narrow.train()(torch.randn(2, 3, 16, 16)).sum().backward()


def test_rho_that_a_classifier_cannot_take_is_refused():
    fixed = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 2))
    with pytest.raises(ModelError, match="cannot take 3x4x4"):
        deepreduce.reshape(deepreduce.network(fixed, (3, 8, 8)), rho=0.5)


@pytest.mark.parametrize("head", ["pooled convolution", "log-softmax", "scaled", "sum"])
def test_alpha_never_prunes_classes(head):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.classes = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 10, 1)
            self.fc, self.fc2 = nn.Linear(16, 10), nn.Linear(16, 10)

        def forward(self, x):
            x = F.relu(self.conv(x))
            if head == "pooled convolution":
                return self.classes(x).mean((2, 3))
            x = x.mean((2, 3))
            if head == "sum":
                return self.fc(x) + self.fc2(x)
            return self.fc(x).log_softmax(1) if head == "log-softmax" else self.fc(x) * 0.5

    narrow = deepreduce.reshape(deepreduce.network(Net(), (3, 8, 8)), alpha=0.5)
    assert narrow.num_classes == 10
    assert narrow.relus == 8 * 64


def test_alpha_that_would_prune_nothing_is_refused():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.fc = nn.Parameter(torch.randn(16, 3, 3, 3)), nn.Linear(16, 10)

        def forward(self, x):
            return self.fc(F.relu(F.conv2d(x, self.weight)).mean((2, 3)))

    with pytest.raises(ModelError, match=r"scaled by 0\.5"):
        deepreduce.reshape(deepreduce.network(Net(), (3, 8, 8)), alpha=0.5)


class Bottleneck(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x):
        return F.relu(self.c(F.relu(self.b(F.relu(self.a(x))))) + x)


def test_bottlenecks_keep_the_relu_after_the_addition():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), *(Bottleneck() for _ in range(4)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    thinned = deepreduce.thin(deepreduce.network(net, (3, 8, 8)), {"S1"})
    kept = [s for s in kept_sites(thinned.layout, thinned.point) if s.stage == "S1"]
    assert [s.after_merge for s in kept] == [False, True] * 4


def test_scales_that_no_decimal_holds():
    full = deepreduce.network("resnet6", (3, 24, 24), width=0.0625)
    network = deepreduce.reshape(full, rho=1 / 3)
    assert deepreduce.reduce_to(full, str(network.point)).relus == network.relus


def test_rebuilding_may_gain_or_lose_a_shortcuts_projection():
    network = deepreduce.network("mobilenet_v2", width=0.1)
    assert deepreduce.reshape(network, alpha=0.75).relus < network.relus
