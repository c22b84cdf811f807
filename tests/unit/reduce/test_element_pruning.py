"""Elements removed during a training: exactly the budget, the cheapest first, resumable to the bit."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from deepreduce.errors import PointError, SettingError
from deepreduce.networks import ModelSource, Network
from deepreduce.networks.masked_relu import MaskedReLU
from deepreduce.reduce import Linearize, reduce_to
from deepreduce.reduce.elements.linearize import gates_of, with_gates
from deepreduce.reduce.elements.pruning import removal
from deepreduce.reduce.elements.scores import Scores
from deepreduce.reduce.elements.settings import METHODS
from deepreduce.train import fit, make_recipe
from small_data import stripes_dataset

DATA = stripes_dataset()
RECIPE = make_recipe("quick", epochs=4, batch_size=32, crop_padding=1, learning_rate=0.05)
POINT = "S1+S2+S3+S4"


def net(budget: int, name: str = "resnet6") -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return reduce_to(ModelSource(name, 0.0625).build(DATA.input_shape, 2, 0), f"{POINT}, relus={budget}")


def train(budget: int, chosen: Linearize, recipe=RECIPE, **options):
    network = net(budget)
    result = fit(network, DATA, recipe, gradual=[removal(chosen, budget)], **options)
    return network, result


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(METHODS),
    st.integers(1, 480),
    st.integers(1, 40),
    st.floats(0.05, 1),
    st.sampled_from([0.0, 0.9]),
)
def test_exactly_the_budget_is_left(method, budget, rounds, share, ema):
    recipe = dataclasses.replace(RECIPE, epochs=2, ema_decay=ema)
    chosen = Linearize(method, rounds=rounds, share=share, gate_rate=0.1)
    network, result = train(budget, chosen, recipe)
    assert network.relus == budget
    gates = torch.cat([gate.gate.flatten() for gate in gates_of(network).values()])
    assert set(gates.tolist()) <= {0.0, 1.0}
    assert result.best_epoch * 3 >= 6 * share - 1e-9  # three steps an epoch
    for module in network.modules():
        if isinstance(module, MaskedReLU):
            assert (module.watch, module.learned, module.gate.requires_grad) == (None, False, False)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 300), st.floats(1e-6, 1))
def test_schedules_fall_to_the_budget(steps, present, budget, rounds, share):
    budget = min(budget, present)
    found = Linearize(rounds=rounds, share=share).schedule(steps, present, budget)
    counts = list(found.values())
    assert list(found) == sorted(found)
    assert 1 <= min(found) <= max(found) <= steps
    assert abs(max(found) - steps * share) <= 1
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == budget
    assert counts[0] <= present


def test_schedules_are_geometric():
    assert Linearize(rounds=4, share=0.5).schedule(80, 10_000, 1) == {10: 1000, 20: 100, 30: 10, 40: 1}


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_training_ends_with_the_same_bits(method, tmp_path):
    chosen = Linearize(method, rounds=5, share=0.8)
    recipe = dataclasses.replace(RECIPE, ema_decay=0.9)
    network, whole = train(60, chosen, recipe)

    class StopError(Exception):
        pass

    def stop(record):
        if record.epoch in stops:
            stops.remove(record.epoch)
            raise StopError

    stops = [1, 3]
    for _ in range(2):
        with pytest.raises(StopError):
            train(60, chosen, recipe, checkpoint=tmp_path / "last.ckpt", on_epoch=stop)
    resumed, result = train(60, chosen, recipe, checkpoint=tmp_path / "last.ckpt")
    assert not stops
    assert same(whole.weights, result.weights)
    assert same(network.state_dict(), resumed.state_dict())
    assert (whole.best_epoch, whole.validation_accuracy) == (result.best_epoch, result.validation_accuracy)


def test_epochs_before_the_last_removal_are_no_result():
    network, result = train(30, Linearize(share=1.0, rounds=3))
    assert result.best_epoch == 4  # though validation accuracy was as good before
    _, result = train(30, Linearize(share=0.5, rounds=3))
    assert result.best_epoch in (2, 3, 4)
    assert result.validation_accuracy == max(r.validation_accuracy for r in result.history[1:])
    assert network.relus == 30


class Ranges(nn.Module):
    """Channels whose ReLUs see: positive values only, both signs, negative values only."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 1)
        self.flat, self.head = nn.Flatten(), nn.Linear(3 * 64, 2)
        with torch.no_grad():
            self.conv.weight.fill_(1.0)
            self.conv.bias[:] = torch.tensor([50.0, 0.0, -50.0])

    def forward(self, x):
        return self.head(self.flat(torch.relu(self.conv(x))))


def ranges(budget: int) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return with_gates(Network.of(Ranges(), DATA.input_shape), budget)


@pytest.mark.parametrize("budget", [150, 128, 100])
def test_what_costs_nothing_goes_first(budget):
    network = ranges(budget)
    still = dataclasses.replace(RECIPE, epochs=1, learning_rate=1e-9)
    fit(network, DATA, still, gradual=[removal(Linearize("taylor1", rounds=1, share=1.0), budget)])
    kept = next(iter(gates_of(network).values())).kept.sum((1, 2)).tolist()
    assert sum(kept) == budget
    assert kept[0] == max(0, budget - 128)


@pytest.mark.parametrize("method", ["taylor1", "taylor2"])
def test_equals_go_in_order(method):
    network = ranges(130)
    gradual = removal(Linearize(method, rounds=1, share=1.0), 130)
    gradual.begin(network, 1)
    gate = next(iter(gates_of(network).values()))
    values = torch.tensor([3.0, -1.0, -2.0]).view(1, 3, 1, 1).expand(4, 3, 8, 8)
    gate.watch(values, -torch.ones(4, 3, 8, 8))  # the loss falls where activations rise: each ReLU is wanted
    gradual.stepped(None)
    assert gate.kept[1:].all()
    assert gate.kept[0].flatten().nonzero().flatten().tolist() == [0, 1]  # of equals the first stay


def test_scores_are_those_of_their_definition():
    """One image at a time by autograd, the gate as a variable."""
    torch.manual_seed(0)
    x, targets, weight = torch.randn(6, 5), torch.randn(6), torch.randn(5)

    def losses(gate):
        y = x + gate * (torch.relu(x) - x)
        return (torch.tanh(y) @ weight - targets).square()

    gradients = []
    for image in range(6):
        gate = torch.ones(5, requires_grad=True)
        losses(gate)[image].backward()
        gradients.append(gate.grad)
    g = torch.stack(gradients).double()

    module = MaskedReLU((5,))
    wanted = {"taylor1": g.abs().mean(0), "taylor2": (g.square() / 2 - g).mean(0)}
    for order, expected in wanted.items():
        scores = Scores(torch.Size([5]), order, torch.device("cpu"))
        module.watch = scores.watch
        for rows in (slice(0, 4), slice(4, 6)):  # batches of unequal size
            y = module(x[rows].clone().requires_grad_())
            (torch.tanh(y) @ weight - targets[rows]).square().mean().backward()
        assert torch.allclose(scores.mean(), expected, atol=1e-5)
        scores.clear()
        assert not scores.mean().any()


def test_the_penalty_removes_gates_and_grows_while_they_are_too_many():
    chosen = Linearize("gates", rounds=4, share=1.0, penalty=10.0, gate_rate=0.2, growth=2.0)
    gradual = removal(chosen, 20)
    network = net(20)
    gradual.begin(network, 40)
    gates = gates_of(network).values()
    counts = []
    for step in range(1, 40):
        gradual.loss(torch.zeros(())).backward()
        gradual.stepped(None)
        counts.append(sum(int((gate.gate > chosen.threshold).sum()) for gate in gates))
        if step == 10:
            assert gradual.penalty == (20.0 if counts[-1] > 20 else 10.0)
    assert counts[0] > counts[-1] == 0  # nothing speaks for them
    gradual.loss(torch.zeros(())).backward()
    gradual.stepped(None)
    assert network.relus == 20


def test_what_was_gone_stays_gone():
    for method in METHODS:
        network = net(40)
        for gate in gates_of(network).values():
            gate.gate[:, ::2] = 0
        before = {name: gate.kept for name, gate in gates_of(network).items()}
        fit(network, DATA, RECIPE, gradual=[removal(Linearize(method, gate_rate=0.3), 40)])
        after = gates_of(network)
        assert network.relus == 40
        assert not any(bool((after[name].kept & ~mask).any()) for name, mask in before.items())


def test_refusals():
    with pytest.raises(PointError, match="100000 cannot be kept"):
        fit(net(50), DATA, RECIPE, gradual=[removal(Linearize(), 100_000)])
    with pytest.raises(SettingError, match="did you mean 'taylor2'"):
        Linearize("taylor")
    with pytest.raises(SettingError, match="share 0 "):
        Linearize(share=0)
