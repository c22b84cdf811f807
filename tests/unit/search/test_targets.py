"""Budgets: their grammar, and the choice under them by brute force."""

import pytest
from hypothesis import given, strategies as st

from deepreduce.errors import PlanError, SettingError
from deepreduce.search.frontier import TrainedNetwork
from deepreduce.search.targets import choose, parse_target


@pytest.mark.parametrize(
    ("text", "quantity", "bound", "or_equal", "network"),
    [
        ("relus<50k", "relus", 50_000, False, "none"),
        ("relus <= 1.5M", "relus", 1_500_000, True, "none"),
        ("relus<114688", "relus", 114_688, False, "none"),
        ("online<0.1s@lan", "online", 0.1, False, "lan"),
        ("online<100ms@200Mbit, 20ms", "online", 0.1, False, "200Mbit,20ms"),
        ("offline<=2s", "offline", 2, True, "none"),
        ("total<2min@wan", "total", 120, False, "wan"),
        ("traffic<50MB", "traffic", 50e6, False, "none"),
        ("traffic<50MB@lan", "traffic", 50e6, False, "none"),
    ],
)
def test_targets_are_read(text, quantity, bound, or_equal, network):
    target = parse_target(text)
    assert (target.quantity, target.or_equal, target.network) == (quantity, or_equal, network)
    assert target.bound == pytest.approx(bound)
    assert parse_target(target.text) == target
    assert target.holds(bound * 0.999) and not target.holds(bound * 1.001)
    assert target.holds(target.bound) == or_equal


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read"),
        ("online", "cannot be read"),
        ("online>1s", "cannot be read"),
        ("online<1s;relus<2", "not a number with a unit"),
        ("relu<50k", "did you mean 'relus'"),
        ("online<100", "no unit"),
        ("online<100k", "'k' is not one of the units us, ms, s,"),
        ("relus<1.2.3k", "'1.2.3k' is not a number"),
        ("relus<" + 400 * "9", "is not a number"),
        ("relus<0", "nothing is below"),
        ("online<1s@dsl", "network 'dsl'"),
        ("online<-1s", "'-1s' is not a number"),
    ],
)
def test_targets_that_cannot_be_read_say_why(text, says):
    with pytest.raises(SettingError) as caught:
        parse_target(text)
    assert says in str(caught.value)
    assert caught.value.hint


def networks(pairs):
    return [
        TrainedNetwork(f"n{i}", "candidate", "culled", True, relus, 1, 1, float(accuracy), f"{i:x}", 1.0, 1)
        for i, (relus, accuracy) in enumerate(pairs)
    ]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12),
    st.integers(1, 10),
    st.integers(1, 30),
)
def test_the_choice_by_brute_force(pairs, most_relus, most_bytes):
    targets = [parse_target(f"relus<={most_relus}"), parse_target(f"traffic<{most_bytes}B")]
    asked = []

    def predict(network):
        asked.append(network)
        if network.relus == 5:
            raise PlanError("five ReLUs have no plan")
        return network.relus, 3 * network.relus

    found = networks(pairs)
    choice = choose(found, targets, predict)
    possible = [n for n in found if n.relus != 5]
    fitting = [n for n in possible if n.relus <= most_relus and 3 * n.relus < most_bytes]
    if fitting:
        best = max(n.validation_accuracy for n in fitting)
        assert choice.chosen.network.validation_accuracy == best
        assert choice.chosen.network.relus == min(n.relus for n in fitting if n.validation_accuracy == best)
        assert choice.nearest is None
        assert all(n.validation_accuracy >= best for n in asked), "no network is asked that cannot be chosen"
    else:
        assert choice.chosen is None
        assert (choice.nearest is None) == (not possible)
        if possible:
            assert choice.nearest.network.relus == min(n.relus for n in possible)
            assert choice.nearest.excess(targets) >= 0
    assert {name for name, _ in choice.skipped} <= {n.name for n in found if n.relus == 5}
