"""Rounds and waves on graphs drawn by hand, and against enumeration of all paths of random ones."""

import numpy as np
import pytest

from deepreduce.plan import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    Linear,
    MaxPool,
    Relu,
    Rescale,
    offline_waves,
    online_levels,
    pack_kept,
    shapes,
    tournament,
    validate,
)
from plan_samples import conv, plan_of, resnet18
from random_plans import random_plan

HALF = pack_kept(np.arange(60) % 2 == 0)


def c(name, source):
    return conv(name, source, 2, fraction=0)


def relu(name, source, shift=0, kept=None):
    return Relu(name, (source,), shift, 30, 1000, kept)


def names(levels):
    return [sorted(step.op for step in level) for level in levels]


def test_a_chain():
    plan = plan_of(c("a", "input"), relu("r", "a"), c("b", "r"), relu("s", "b"), c("d", "s"))
    assert online_levels(plan) == [[("r", 0)], [("s", 0)]]
    assert offline_waves(plan) == [["a", "b", "d"]]


def test_linear_after_linear_waits():
    plan = plan_of(c("a", "input"), c("b", "a"), AvgPool("p", ("b",), (1, 1), (1, 1), (0,) * 4), c("d", "p"))
    assert online_levels(plan) == []
    assert offline_waves(plan) == [["a"], ["b"], ["d"]]


def test_branches_share_rounds():
    plan = plan_of(
        c("a", "input"), relu("r", "a"),
        c("b", "r"), relu("s", "b"), c("d", "s"),
        c("e", "r"), relu("t", "e"),
        Add("sum", ("d", "t", "input")),
        relu("u", "sum"),
    )  # fmt: skip
    validate(plan)
    assert names(online_levels(plan)) == [["r"], ["s", "t"], ["u"]]
    assert offline_waves(plan) == [["a", "b", "d", "e"]]


def test_a_shortcut_around_a_relu_is_not_interrupted():
    plan = plan_of(c("a", "input"), relu("r", "a"), Add("sum", ("r", "a")), c("b", "sum"), relu("s", "b"), c("d", "s"))
    assert offline_waves(plan) == [["a", "d"], ["b"]]


@pytest.mark.parametrize(
    ("op", "fresh"),
    [
        (relu("r", "a"), True),
        (relu("r", "a", kept=HALF), False),
        (relu("r", "a", 3, HALF), True),
        (Rescale("r", ("a",), 3, 1), True),
        (Rescale("r", ("a",), 0, 1), False),
        (Rescale("r", ("a",), -3, 1), False),
        (MaxPool("r", ("a",), (2, 2), (2, 2), (0,) * 4, 30, 1), False),  # a + relu(b - a): a's share is part of it
        (MaxPool("r", ("a",), (1, 1), (2, 2), (0,) * 4, 30, 1), False),
        (AvgPool("r", ("a",), (2, 2), (2, 2), (0,) * 4), False),
    ],
)
def test_what_gives_fresh_masks(op, fresh):
    plan = plan_of(c("a", "input"), op, c("b", "r"))
    validate(plan)
    assert offline_waves(plan) == ([["a", "b"]] if fresh else [["a"], ["b"]])


def test_a_pool_takes_a_round_per_level():
    """Nine elements need four levels; the two pools are one round apart."""
    plan = plan_of(
        MaxPool("p", ("input",), (3, 3), (2, 2), (0,) * 4, 30, 1),
        relu("r", "input"),
        MaxPool("q", ("r",), (3, 3), (2, 2), (0,) * 4, 30, 1),
        Concat("cat", ("p", "q")),
        relu("s", "cat"),
    )
    validate(plan)
    assert [sorted(level) for level in online_levels(plan)] == [
        [("p", 0), ("r", 0)],
        [("p", 1), ("q", 0)],
        [("p", 2), ("q", 1)],
        [("p", 3), ("q", 2)],
        [("q", 3)],
        [("s", 0)],
    ]


def test_resnet18():
    plan = resnet18()
    assert len(online_levels(plan)) == 17
    waves = offline_waves(plan)
    assert [len(wave) for wave in waves] == [21]


def needed(op, shape):
    if isinstance(op, MaxPool):
        return len(tournament(op, shape).levels)
    return int(isinstance(op, Relu) or (isinstance(op, Rescale) and op.shift > 0))


def fresh(op):
    """Whether the client's share of the result depends on the op's own masks alone: not if an operand is part of it."""
    return (isinstance(op, Relu) and (op.kept is None or op.shift > 0)) or (isinstance(op, Rescale) and op.shift > 0)


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs(seed):
    rng = np.random.default_rng(seed)
    plan, _ = random_plan(rng, int(rng.integers(16, 65)), 10)
    ops, found = {op.name: op for op in plan.ops}, shapes(plan)

    def paths(name):
        """Every path from the input to ``name``, as lists of ops."""
        if name == "input":
            return [[]]
        return [[*path, ops[name]] for source in ops[name].inputs for path in paths(source)]

    levels = online_levels(plan)
    longest = max(sum(needed(op, found[op.inputs[0]]) for op in path) for path in paths(plan.output))
    assert len(levels) == longest
    when = {step: index for index, level in enumerate(levels) for step in level}
    assert sorted(when) == sorted((op.name, k) for op in plan.ops for k in range(needed(op, found[op.inputs[0]])))
    for name in ops:
        for path in paths(name):
            steps = [when[op.name, k] for op in path for k in range(needed(op, found[op.inputs[0]]))]
            assert steps == sorted(set(steps))

    wave = {name: index for index, linear in enumerate(offline_waves(plan)) for name in linear}
    assert sorted(wave) == sorted(name for name, op in ops.items() if isinstance(op, Conv | Linear))
    for name in wave:
        before = 0
        for path in paths(name):
            run = 0
            for op in path[:-1]:
                run = 0 if fresh(op) else run + isinstance(op, Conv | Linear)
            before = max(before, run)
        assert wave[name] == before


def test_flatten_is_free():
    plan = plan_of(Flatten("f", ("input",)), Linear("l", ("f",), 3, False, 8, 0))
    assert (online_levels(plan), offline_waves(plan)) == ([], [["l"]])
