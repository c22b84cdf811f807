"""Any module: sites are found whatever the spelling, nothing is miscounted, the rest is refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import deepreduce
from deepreduce.errors import ModelError, SettingError
from deepreduce.networks import Network, build_zoo, count
from relu_oracle import relus_called


class Head(nn.Module):
    """Subclasses define features(x) -> [n, 8, h, w]."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


class TorchvisionBlock(nn.Module):
    """As torchvision writes it: one ReLU module, called twice."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        identity = x
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        out = self.relu(out)
        return out


class UserResNet18(nn.Module):
    def __init__(self, block=TorchvisionBlock):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(block(64, 64, 1), block(64, 64, 1))
        self.layer2 = nn.Sequential(block(64, 128, 2), block(128, 128, 1))
        self.layer3 = nn.Sequential(block(128, 256, 2), block(256, 256, 1))
        self.layer4 = nn.Sequential(block(256, 512, 2), block(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512, 100)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class FunctionalBlock(TorchvisionBlock):
    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        identity = x if self.downsample is None else self.downsample(x)
        out = out + identity
        F.relu_(out)  # the result is dropped: whoever reads `out` next reads the ReLU
        return out


def test_traced_and_built_in_resnet18_inspect_alike():
    ours = count(deepreduce.network("resnet18")).to_json()
    assert count(Network.of(UserResNet18())).to_json() == ours


def test_functional_and_in_place_relus_count_alike():
    ours = count(deepreduce.network("resnet18"))
    theirs = count(Network.of(UserResNet18(FunctionalBlock)))
    assert {k: v.relus for k, v in theirs.stages.items()} == {k: v.relus for k, v in ours.stages.items()}
    assert relus_called(UserResNet18(FunctionalBlock), (3, 32, 32)) == theirs.total.relus


def test_dropped_in_place_result_is_not_dead_code():
    class Net(Head):
        def features(self, x):
            y = self.conv(x)
            F.relu_(y)
            return self.conv2(y)

    network = Network.of(Net(), (3, 8, 8))
    assert network.relus == 8 * 64
    assert deepreduce.cull(network, {"S1"}).relus == 0


def test_in_place_relu_also_changes_the_shortcut():
    class Net(Head):
        def features(self, x):
            y = self.conv(x)
            return self.conv2(y.relu_()) + y  # y was overwritten

    module = Net()
    network = Network.of(module, (3, 8, 8)).eval()
    x = torch.randn(4, 3, 8, 8)
    assert torch.allclose(network(x), module.eval()(x), atol=1e-6)
    linear = deepreduce.cull(network, network.layout.stages)
    y = module.conv(x)
    assert torch.allclose(linear(x), module.fc((module.conv2(y) + y).mean((2, 3))), atol=1e-5)


def test_cull_before_an_in_place_addition_leaves_the_other_branch_alone():
    class Net(Head):
        def features(self, x):
            y = self.conv(x)
            z = F.relu(y)
            z += self.conv2(y)
            return z * 2 + y

    module = Net()
    linear = deepreduce.cull(Network.of(module, (3, 8, 8)), {"S1"}).eval()
    x = torch.randn(2, 3, 8, 8)
    y = module.conv(x)
    assert torch.allclose(linear(x), module.fc(((y + module.conv2(y)) * 2 + y).mean((2, 3))), atol=1e-5)


@pytest.mark.parametrize(
    ("spelling", "per_element"),
    [
        (torch.relu, 1),
        (lambda x: x.relu(), 1),
        (lambda x: x.clamp(min=0), 1),
        (lambda x: torch.clamp_min(x, 0), 1),
        (F.relu6, 2),
        (lambda x: F.hardtanh(x, 0, 6), 2),
        (lambda x: torch.clamp(x, 0, 6), 2),
    ],
)
def test_every_spelling_of_relu(spelling, per_element):
    class Net(Head):
        def features(self, x):
            return spelling(self.conv(x))

    assert Network.of(Net(), (3, 8, 8)).relus == per_element * 8 * 64


def test_unused_relu_is_not_counted():
    class Net(Head):
        def features(self, x):
            y = self.conv(x)
            F.relu(y)  # out of place and never read
            return F.relu(self.conv2(y))

    assert Network.of(Net(), (3, 8, 8)).relus == 8 * 64


def test_other_nonlinearities_and_pools_are_noticed():
    class Net(Head):
        def features(self, x):
            return F.gelu(F.max_pool2d(F.relu(self.conv(x)), 2)) * torch.sigmoid(self.fc.bias.sum())

    notices = " ".join(Network.of(Net(), (3, 8, 8)).notices)
    assert "gelu" in notices
    assert "max-pooling" in notices


def test_dropout_still_drops_when_training():
    class Net(Head):
        def features(self, x):
            return F.dropout(F.relu(self.conv(x)), 0.5, self.training)

    network = Network.of(Net(), (3, 8, 8))
    x = torch.ones(2, 3, 8, 8)
    network.train()
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_fully_connected_relus_are_a_stage():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3),
    )  # fmt: skip
    assert {k: v.relus for k, v in count(Network.of(net, (3, 8, 8))).stages.items()} == {"S1": 256, "S2": 64, "S3": 16}


def test_stages_by_pattern():
    network = deepreduce.network("resnet18", stages={"early": "relu,layer[12].*", "late": "layer[34].*"})
    assert network.layout.stages == ("early", "late")
    assert sum(s.stage == "late" for s in network.layout.sites) == 8
    with pytest.raises(SettingError, match=r"relu.*no stage"):
        deepreduce.network("resnet18", stages={"early": "layer*"})
    with pytest.raises(SettingError, match="matches the stages"):
        deepreduce.network("resnet18", stages={"a": "*", "b": "layer1.*"})
    with pytest.raises(SettingError, match="no ReLU matches"):
        deepreduce.network("resnet18", stages={"a": "*", "b": "nothing"})


def _branching(x):
    return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        (lambda self, x: _branching(F.relu(self.conv(x))), "cannot be traced"),
        (lambda self, x: self.conv2(self.conv(x)), "no ReLU"),
        (lambda self, x: F.relu(self.conv(x)) * torch.rand(1), "is random"),
        (lambda self, x: F.relu(self.conv(x.view(1, -1, 8, 8))), "cannot take"),
    ],
)
def test_refusals(features, reason):
    class Net(Head):
        pass

    Net.features = features
    with pytest.raises(ModelError, match=reason):
        Network.of(Net(), (3, 8, 8))


def test_in_place_through_a_view_is_refused_where_it_matters():
    class Net(Head):
        def features(self, x):
            y = self.conv(x)
            half = y[:, :4]
            half.relu_()
            return self.conv2(y)  # sees the ReLU through shared memory

    with pytest.raises(ModelError, match="shares its memory"):
        Network.of(Net(), (3, 8, 8))


def test_hidden_relus_are_refused():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(24, 5, nonlinearity="relu", batch_first=True)

        def forward(self, x):
            return F.relu(self.rnn(x.flatten(1, 2).transpose(1, 2))[0][:, -1])

    with pytest.raises(ModelError, match=r"RNN|traced"):
        Network.of(Net(), (3, 8, 8))
    with pytest.raises(ModelError):
        Network.of(nn.Sequential(nn.Flatten(1), nn.Linear(192, 8), Wrapped(), nn.Linear(8, 2)), (3, 8, 8))


@torch.fx.wrap
def hidden(x):
    return F.relu(x)


class Wrapped(nn.Module):
    def forward(self, x):
        return hidden(x)


def test_answers_that_are_no_logits_are_refused():
    with pytest.raises(ModelError, match="logits"):
        Network.of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), (3, 8, 8))


def test_tracing_leaves_the_module_alone():
    module = build_zoo("resnet10", width=0.125)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    Network.of(module)
    assert module.training
    assert module.relu.inplace
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_names_of_repeated_calls_do_not_collide():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.down, self.fc = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Linear(4, 2)
            self.relu, self.relu_1 = nn.ReLU(), nn.ReLU()

        def forward(self, x):
            x = self.relu_1(self.relu(self.conv(x)) - 1)
            return self.fc(self.relu(self.down(x)).mean((2, 3)))

    network = Network.of(Net(), (3, 8, 8))
    assert network.relus == count(network).total.relus == relus_called(Net(), (3, 8, 8)) == 2 * 256 + 64
    assert deepreduce.cull(network, {"S1"}).relus == 64
    assert deepreduce.cull(network, {"S2"}).relus == 512


def test_relus_of_weights_are_not_counted():
    class Net(Head):
        def features(self, x):
            return (
                F.conv2d(F.relu(self.conv(x)), F.relu(self.conv2.weight), padding=1) * self.fc.bias.clamp(min=0).sum()
            )

    network = Network.of(Net(), (3, 8, 8))
    assert network.relus == 8 * 64
    assert network.notices == ()


@pytest.mark.parametrize(
    "alter",
    [
        lambda m: m.register_forward_hook(lambda m, i, o: F.relu(o)),
        lambda m: setattr(m, "forward", lambda x: F.relu(F.conv2d(x, m.weight, m.bias, padding=1))),
    ],
)
def test_hooks_and_patched_forwards_are_seen_or_refused(alter):
    class Net(Head):
        def features(self, x):
            return F.relu(self.conv2(self.conv(x)) + 1)

    module = Net()
    alter(module.conv)
    try:
        assert Network.of(module, (3, 8, 8)).relus == 2 * 8 * 64 == relus_called(module, (3, 8, 8))
    except ModelError as error:
        assert "traced" in str(error)


@pytest.mark.parametrize(
    "features",
    [
        lambda self, x: F.relu(self.conv(x) + (torch.ones(1) if self.training else torch.zeros(1))),
        lambda self, x: F.relu(self.conv(x)) if self.training else self.conv2(F.relu(self.conv(x))),
        lambda self, x: F.relu(F.batch_norm(self.conv(x), torch.zeros(8), torch.ones(8), training=self.training)),
    ],
)
def test_another_forward_in_training_is_refused(features):
    class Net(Head):
        pass

    Net.features = features
    with pytest.raises(ModelError, match=r"in training than in evaluation|another one in training"):
        Network.of(Net(), (3, 8, 8))


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x + 1

    @staticmethod
    def backward(ctx, gradient):
        return 5 * gradient


def test_gradients_must_agree_too():
    class Custom(Head):
        def features(self, x):
            return F.relu(StraightThrough.apply(self.conv(x)))

    class Frozen(Head):
        def features(self, x):
            with torch.no_grad():
                x = self.conv(x)
            return self.conv2(F.relu(x))

    for module in (Custom(), Frozen()):
        with pytest.raises(ModelError, match=r"gradients|traced"):
            Network.of(module, (3, 8, 8))


@pytest.mark.parametrize("operation", [torch.sigmoid_, lambda x: F.leaky_relu_(x, 0.1), lambda x: F.elu(x, 1.0, True)])
@pytest.mark.parametrize("zero_head", [False, True])
def test_any_in_place_operation_is_understood_or_refused(operation, zero_head):
    class Net(Head):
        def features(self, x):
            y = self.conv(x)
            z = F.relu(y)
            operation(z)
            return self.conv2(z) + y

    module = Net()
    if zero_head:  # all logits are equal: the comparison must not be blind for that
        nn.init.zeros_(module.fc.weight)
    try:
        culled = deepreduce.cull(Network.of(module, (3, 8, 8)), {"S1"}).eval()
    except ModelError as error:
        assert "in place" in str(error)
        return
    with torch.no_grad():
        for net in (module, culled.body):
            net.get_parameter("fc.weight").fill_(1.0)
    x = torch.randn(2, 3, 8, 8)
    y = module.conv(x)
    expected = module.fc((module.conv2(operation(y.clone())) + y).mean((2, 3)))
    assert torch.allclose(culled(x), expected, atol=1e-4)


def test_optional_arguments_of_forward_take_their_defaults():
    class Net(Head):
        def forward(self, x, scale=2.0, *, features_only=False, k=None):
            x = F.relu(self.conv(x)) * scale
            return x if features_only else self.fc(x.mean((2, 3)))

    assert Network.of(Net(), (3, 8, 8)).relus == 8 * 64


@pytest.mark.parametrize("read", [lambda y: y.flatten(1), lambda y: y.reshape(-1, 256)])
def test_a_view_made_after_an_in_place_relu_is_fine(read):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3, 1, 1), nn.Linear(256, 2)

        def forward(self, x):
            y = self.conv(x)
            y.relu_()
            return self.fc(read(y))

    assert Network.of(Net(), (3, 8, 8)).relus == 256


def test_training_mode_is_kept():
    assert Network.of(build_zoo("resnet6", width=0.0625)).body.training
    assert not Network.of(build_zoo("resnet6", width=0.0625).eval()).body.training


class Gated(nn.Module):
    """A residual block with squeeze-and-excitation."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv, self.skip = nn.Conv2d(before, after, 3, stride, 1), nn.Conv2d(before, after, 1, stride)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1)
        self.squeeze, self.excite = nn.Conv2d(after, 2, 1), nn.Conv2d(2, after, 1)

    def forward(self, x):
        out = self.conv2(F.relu(self.conv(x)))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(out.mean((2, 3), keepdim=True)))))
        return F.relu(out * gate + self.skip(x))


def test_squeeze_and_excitation_stays_inside_its_stage():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(), Gated(4, 4, 1), Gated(4, 4, 1), Gated(4, 8, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    network = Network.of(net, (3, 8, 8))
    assert network.layout.stages == ("stem", "S1", "S2")
    assert [site.block for site in network.layout.of("S1")] == [0, 0, 0, 1, 1, 1]


def test_reserved_stage_names():
    with pytest.raises(SettingError, match="no stage can be named 'none'"):
        deepreduce.network("resnet6", stages={"none": "*"})
