"""Max-pools rewritten: the same values, fewer comparisons."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from deepreduce.export.quantization.pools import pool_window, with_cheaper_pools
from deepreduce.plan import MaxPool, Relu, Rescale, predict, run, validate
from deepreduce.plan.shapes import shapes
from plan_samples import conv, plan_of

PEAK = 1 << 20


def relu(name, source, **settings):
    return Relu(name, (source,), 8, 24, PEAK, **settings)


def rewritten(plan):
    ops, output = with_cheaper_pools(plan.ops, plan.output, plan.input_shape, plan.ring.ring_bits)
    found = plan_of(*ops, input_shape=plan.input_shape, ring_bits=plan.ring.ring_bits, output=output)
    validate(found)
    return found


def same_answers(plan, other, seed):
    x = np.random.default_rng(seed).integers(-PEAK, PEAK, (2, *plan.input_shape))
    assert np.array_equal(run(plan, {}, x)[plan.output], run(other, {}, x)[other.output])


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_values_stay_for_every_kernel_stride_and_padding(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    kernel = draw(1, 5), draw(1, 5)
    stride = draw(1, 4), draw(1, 4)
    padding = tuple(draw(0, kernel[axis // 2] - 1) for axis in range(4))  # ceil_mode pads below and to the right
    shape = draw(1, 2), draw(kernel[0], 9), draw(kernel[1], 9)
    pool = MaxPool("p", ("r",), kernel, stride, padding, 17, 1 << 12)
    before = [relu("r", "input")] if data.draw(st.booleans()) else []
    plan = plan_of(*before, pool if before else MaxPool("p", ("input",), kernel, stride, padding, 25, PEAK),
                   input_shape=shape)  # fmt: skip
    other = rewritten(plan)
    same_answers(plan, other, draw(0, 1 << 30))
    # Comparisons may become a few more, where they fill their chunks better or save a round.
    assert link_seconds(other) <= link_seconds(plan)


def link_seconds(plan):
    """What the choice goes by: 1 Gb/s and 1 ms a round."""
    total = predict(plan).total
    sent = sum(traffic.up_bytes + traffic.down_bytes for traffic in (total.offline, total.online))
    return 8 * sent / 1e9 + 0.001 * total.online.rounds


def test_overlapping_windows_share_their_rows_and_the_relu_comes_last():
    """The stem of an ImageNet network: 3x3, stride 2, behind a ReLU."""
    plan = plan_of(relu("r", "input"), MaxPool("p", ("r",), (3, 3), (2, 2), (1, 1, 1, 1), 17, 1 << 12),
                   input_shape=(4, 56, 56))  # fmt: skip
    other = rewritten(plan)
    assert [(op.name, op.inputs) for op in other.ops] == [("p.rows", ("input",)), ("p", ("p.rows",)), ("r", ("p",))]
    assert other.ops[0].window == other.ops[1].window == pool_window(PEAK)
    rows, columns = 28 * 2 - 1, 56  # the first window of a line has two valid elements
    assert predict(other).total.relus == 4 * (rows * columns + 28 * rows + 28 * 28)
    before, after = (predict(p).total for p in (plan, other))
    assert after.offline.up_bytes < 0.85 * before.offline.up_bytes
    assert after.online.rounds <= before.online.rounds
    same_answers(plan, other, 1)


def test_a_shift_comes_last_too():
    plan = plan_of(Rescale("s", ("input",), 8, PEAK), MaxPool("p", ("s",), (2, 2), (2, 2), (0, 0, 0, 0), 17, 1 << 12),
                   input_shape=(4, 16, 16))  # fmt: skip
    other = rewritten(plan)
    assert [op.name for op in other.ops][-1] == "s" and predict(other).total.rescales == 4 * 64
    same_answers(plan, other, 2)


def test_a_small_window_over_many_levels_stays_whole():
    """Two levels of two rounds cost more time than the few bytes that they save."""
    plan = plan_of(MaxPool("p", ("input",), (5, 5), (5, 5), (0, 0, 0, 0), 25, PEAK), input_shape=(1, 5, 5))
    assert rewritten(plan).ops == plan.ops


@pytest.mark.parametrize("why", ["read twice", "answer", "elements removed", "ring"])
def test_a_relu_stays_where_it_is_needed(why):
    peak, window = ((1 << 29) - 1, 32) if why == "ring" else (PEAK, 24)
    kept = np.packbits(np.arange(4 * 16 * 16) % 2 == 0).tobytes() if why == "elements removed" else None
    first = Relu("r", ("input",), window - 16, window, peak, kept)
    pool = MaxPool("p", ("r",), (2, 2), (2, 2), (0, 0, 0, 0), 17, 1 << 12)
    more = [conv("c", "r", 3)] if why == "read twice" else []
    output = {"answer": "r", "read twice": "c"}.get(why, "p")
    ops, answer = with_cheaper_pools((first, pool, *more), output, (4, 16, 16), 32)
    names = [op.name for op in ops]
    assert names.index("r") < names.index("p") and answer == output


def test_readers_of_a_pool_read_what_comes_last():
    plan = plan_of(relu("r", "input"), MaxPool("p", ("r",), (2, 2), (2, 2), (0, 0, 0, 0), 17, 1 << 12),
                   conv("c", "p", 3), input_shape=(4, 16, 16))  # fmt: skip
    other = rewritten(plan)
    assert {op.name: op.inputs for op in other.ops}["c"] == ("r",)
    assert shapes(other)["r"] == (4, 8, 8)
