"""Cost formulas against sums done by hand (numbers, not code), and what must hold for every plan."""

import numpy as np
import pytest

from deepreduce.errors import PlanError
from deepreduce.plan import AvgPool, Cost, MaxPool, Relu, Rescale, Traffic, pack_kept, predict
from deepreduce.plan.cost.traffic import vector
from deepreduce.plan.execution.messages import relu_vector, rescale_vector
from deepreduce.plan.schema import total
from plan_samples import conv, plan_of, resnet18
from random_plans import random_plan


def relu(elements, window, shift, ring_bits, protocol):
    return vector(relu_vector(elements, ring_bits, shift, window, protocol))


def rescale(elements, shift, ring_bits, protocol):
    return vector(rescale_vector(elements, ring_bits, shift, protocol))


LAST = AvgPool("last", ("op",), (1, 1), (1, 1), (0,) * 4)


def test_fused_relu_one_chunk():
    """l = 32, m = 32, f = 12: n = 20 bits; 608 + 88 bytes offline and 336 / 4 online per ReLU, as designed."""
    assert relu(2048, 32, 12, 32, "fused") == Cost(
        relus=2048,
        offline=Traffic(up_bytes=8 + 163840 + 8 + 8192, down_bytes=8 + 16 + 1245184 + 8192, rounds=1),
        online=Traffic(up_bytes=8 + 8192, down_bytes=8 + 655360 + 32768, rounds=1),
        stored_bytes_client=2048 * (608 + 320 + 24),
        stored_bytes_server=2048 * 48 + 512,
    )


def test_fused_relu_second_chunk_of_one_element():
    """One element is padded to 16: 320 transfers fill three blocks of 128, 16 one; the hash key came before."""
    extra = Traffic(8 + 1536 + 8 + 64, 8 + 9728 + 512), Traffic(8 + 64, 8 + 5120 + 256)
    first, second = relu(2048, 32, 12, 32, "fused"), relu(2049, 32, 12, 32, "fused")
    assert second.offline == first.offline + extra[0]
    assert second.online == first.online + extra[1]
    assert second.relus == 2049


def test_fused_relu_odd_ring_and_narrow_window():
    """l = 37, m = 21, f = 5, 16 elements: elements of 37 bits are packed without gaps."""
    cost = relu(16, 21, 5, 37, "fused")
    assert cost.offline == Traffic(8 + 4 * 256 + 8 + 74, 8 + 16 + 32 * 15 * 16 + 512, 1)
    assert cost.online == Traffic(8 + 74, 8 + 4096 + 296, 1)


def test_delphi_relu():
    """81 AND gates at l = 32, f = 12, however narrow the window."""
    assert relu(3, 20, 12, 32, "delphi") == Cost(
        relus=3,
        offline=Traffic(8 + 4096, 8 + 16 + 41472, 1),
        online=Traffic(8 + 64, 8 + 8192, 1),
        stored_bytes_client=16 * (2592 + 1024 + 8),
        stored_bytes_server=16 * 4,
    )


def test_fused_rescale():
    """100 elements are padded to 112; f = 12 bits each for the correction."""
    cost = rescale(100, 12, 32, "fused")
    assert cost.offline == Traffic(8 + 168, 8 + 16 + 512, 1)
    assert cost.online == Traffic(8 + 448, 8 + 14, 1)
    assert (cost.relus, cost.rescales) == (0, 100)
    larger = rescale(32768 + 1, 12, 32, "fused")
    assert larger.offline == Traffic(8 + 49152 + 8 + 24, 8 + 16 + 131072 + 8 + 512, 1)
    assert larger.online == Traffic(8 + 131072 + 8 + 64, 8 + 4096 + 8 + 2, 1)


def test_delphi_rescale():
    cost = rescale(100, 12, 32, "delphi")
    assert cost.offline == Traffic(8 + 28672, 8 + 16 + 222208, 1)
    assert cost.online == Traffic(8 + 448, 8 + 57344, 1)
    assert rescale(2049, 12, 32, "delphi").online == Traffic(8 + 8192 + 8 + 64, 8 + 1048576 + 8 + 8192, 1)


def test_pool_has_a_vector_per_level():
    """Four windows of four: eight pairs, then four, each padded to 16 and with a hash key of its own; shift 0."""
    op = MaxPool("op", ("input",), (2, 2), (2, 2), (0,) * 4, 20, 100)
    cost = predict(plan_of(op, input_shape=(1, 4, 4))).ops["op"]
    one = relu(16, 20, 0, 32, "fused")
    assert cost.relus == 12
    assert cost.offline == Traffic(2 * one.offline.up_bytes, 2 * one.offline.down_bytes, 1)
    assert cost.online == Traffic(2 * one.online.up_bytes, 2 * one.online.down_bytes, 2)


@pytest.mark.parametrize("batch", [1, 3])
def test_kept_subset(batch):
    kept = pack_kept(np.arange(60) < 20)
    with_shift = predict(plan_of(Relu("op", ("input",), 4, 20, 10, kept), LAST), batch=batch).ops["op"]
    a, b = relu(20 * batch, 20, 4, 32, "fused"), rescale(40 * batch, 4, 32, "fused")
    assert (with_shift.relus, with_shift.rescales) == (20 * batch, 40 * batch)
    assert with_shift.online == Traffic(
        a.online.up_bytes + b.online.up_bytes, a.online.down_bytes + b.online.down_bytes, 1
    )
    assert with_shift.offline.up_bytes == a.offline.up_bytes + b.offline.up_bytes
    assert with_shift.offline.rounds == 1
    without = predict(plan_of(Relu("op", ("input",), 0, 20, 10, kept), LAST), batch=batch).ops["op"]
    assert without == relu(20 * batch, 20, 0, 32, "fused")


def test_input_output_and_free_ops():
    plan = plan_of(Rescale("up", ("input",), -3, 10), ring_bits=37)
    predicted = predict(plan, batch=2)
    assert predicted.ops == {
        "input": Cost(offline=Traffic(24, 0, 0), online=Traffic(8 + 48 + 555, 0, 1)),  # 120 elements of 37 bits
        "up": Cost(),
        "output": Cost(offline=Traffic(56, 56, 1), online=Traffic(0, 8 + 555, 0)),
    }
    assert predicted.total.online == Traffic(611, 563, 1)
    assert predicted.total.offline == Traffic(80, 56, 1)


def test_homomorphic_frames_are_per_image():
    """22 uploads in frames of eight, 64 responses of 22016 + 4864 bytes; twice."""
    plan = plan_of(conv("c", "input", 64), input_shape=(64, 32, 32))
    cost = predict(plan, batch=2).ops["c"]
    assert cost.offline == Traffic(2 * (22 * 51216 + 3 * 8), 2 * (64 * 26880 + 8 * 8), 1)
    assert (cost.stored_bytes_client, cost.stored_bytes_server) == (2 * 8 * 131072, 2 * 8 * 65536)


def test_setup():
    parameters_key = 16 + 51200
    plan = plan_of(conv("c", "input", 2))
    setup = Traffic(8 + 32 + parameters_key + 8 + 8208, 8 + 4096 + 32 + 8 + 4112, 2)
    assert predict(plan, "delphi").setup.offline == predict(plan, "fused").setup.offline == setup


def test_total_rounds():
    plan = plan_of(
        conv("a", "input", 2),
        conv("b", "a", 2),
        Relu("r", ("b",), 0, 20, 10),
        conv("c", "r", 2),
        Rescale("s", ("c",), 2, 10),
    )
    predicted = predict(plan)
    assert predicted.total.online.rounds == 2 + 1
    assert predicted.total.offline.rounds == 2 + 2
    assert predict(plan_of(conv("a", "input", 2))).total.offline.rounds == 1 + 1


def test_resnet18_as_designed():
    """The figures of the design: 336 / 4 bytes per ReLU online, about 25 MB up and 30 MB down of ciphertexts."""
    plan = resnet18()
    predicted = predict(plan)
    assert predicted.total.relus == 557056
    assert predicted.total.online.rounds == 18
    assert predicted.total.offline.rounds == 3
    linear = total(cost for name, cost in predicted.ops.items() if not cost.relus and name not in ("input", "output"))
    assert 24e6 < linear.offline.up_bytes < 26e6
    assert 27e6 < linear.offline.down_bytes < 31e6


@pytest.mark.parametrize("protocol", ["fused", "delphi"])
@pytest.mark.parametrize("seed", range(10))
def test_totals_are_sums(protocol, seed):
    plan, _ = random_plan(np.random.default_rng(seed), 32)
    predicted = predict(plan, protocol, batch=2)
    assert list(predicted.ops) == ["input", *(op.name for op in plan.ops), "output"]
    for phase in ("offline", "online"):
        for key in ("up_bytes", "down_bytes"):
            parts = [getattr(getattr(cost, phase), key) for cost in predicted.ops.values()]
            assert getattr(getattr(predicted.total, phase), key) == sum(parts)
    assert predicted.total.relus == sum(cost.relus for cost in predicted.ops.values())


@pytest.mark.parametrize("batch", [0, -1])
def test_no_images_are_refused(batch):
    with pytest.raises(PlanError, match="batch"):
        predict(resnet18(8), batch=batch)


def test_unknown_protocols_are_refused():
    with pytest.raises(PlanError, match="unknown protocol 'magic'"):
        predict(resnet18(8), "magic")
