"""Cost formulas against sums done by hand (numbers, not code), and what must hold for every plan."""

from dataclasses import replace

import numpy as np
import pytest

from deepreduce.errors import PlanError, SettingError
from deepreduce.plan import AvgPool, Cost, MaxPool, Relu, Rescale, Traffic, pack_kept, predict
from deepreduce.plan.cost.traffic import vector
from deepreduce.plan.execution.messages import relu_vector, rescale_vector
from deepreduce.plan.execution.packing import packing_levels
from deepreduce.plan.schema import total
from plan_samples import conv, plan_of, resnet18
from random_plans import random_plan


def relu(elements, window, shift, ring_bits, protocol):
    return vector(relu_vector(elements, ring_bits, shift, window, protocol))


def rescale(elements, shift, ring_bits, protocol, window=28):
    return vector(rescale_vector(elements, ring_bits, shift, window, protocol))


LAST = AvgPool("last", ("op",), (1, 1), (1, 1), (0,) * 4)


def test_ot_relu_one_chunk():
    """l = 32, m = 28, f = 12: digits of 4, 4, 4 and 5, 5, 5 bits; 15 products, one AND, three selectors."""
    up = 8 + 4 * 20 * 2048 + 8 + 8192  # 6 + 9 coefficients, 2 factors, 3 selectors; products with lambda
    rounds = (
        (8 + 27 * 256, 8 + 2048 * (2 + 4 + 4 + 3 * 8)),  # the lowest digit has no table of equality
        (8 + 20 * 256, 8 + 4 * 256),  # 6 + 12 products and the AND's two factors; these opened, and two selectors
        (8 + 256 + 8 * 8192, 8 + 8192),  # eight elements
    )
    assert relu(2048, 28, 12, 32, "ot") == Cost(
        relus=2048,
        offline=Traffic(up_bytes=up, down_bytes=8 + 16 + 4 * 28 * 2048, rounds=1),
        online=Traffic(up_bytes=sum(up for _, up in rounds), down_bytes=sum(down for down, _ in rounds), rounds=3),
        # r' in 8 bytes, a, w and a pad in 4; tables; 20 choices, 2 shares of 2 groups and a triple in bits
        stored_bytes_client=2048 * (8 + 12 + 34) + 256 * (20 + 4 + 3),
        stored_bytes_server=2048 * (32 + 8) + 256 * (27 + 12 + 18 + 3 + 1 + 4),
    )


def test_ot_relu_second_chunk_of_one_element():
    """One element is padded to 16: 320 and 448 transfers fill blocks of 128; the hash key came before."""
    first, second = relu(8192, 28, 12, 32, "ot"), relu(8193, 28, 12, 32, "ot")
    assert second.offline == first.offline + Traffic(8 + 4 * 384 + 8 + 64, 8 + 4 * 512)
    assert second.online == first.online + Traffic(8 + 544 + 8 + 8 + 8 + 64, 8 + 54 + 8 + 40 + 8 + 2 + 512)
    assert second.relus == 8193


def test_ot_without_shift_has_no_carry():
    """Six bits of a maximum: digits of 3 and 3 bits, one group; two selectors, four elements."""
    cost = relu(16, 7, 0, 37, "ot")
    assert cost.offline == Traffic(8 + 4 * 128 + 8 + 74, 8 + 16 + 4 * 128, 1)
    rounds = ((8 + 12, 8 + 3 * 16), (8 + 2 * 2, 8 + 2), (8 + 2 + 4 * 74, 8 + 74))
    assert cost.online == Traffic(sum(up for _, up in rounds), sum(down for down, _ in rounds), 3)


def test_delphi_relu():
    """81 AND gates at l = 32, f = 12, however narrow the window."""
    assert relu(3, 20, 12, 32, "delphi") == Cost(
        relus=3,
        offline=Traffic(8 + 4096, 8 + 16 + 41472, 1),
        online=Traffic(8 + 64, 8 + 8192, 1),
        stored_bytes_client=16 * (2592 + 1024 + 8),
        stored_bytes_server=16 * 4,
    )


def test_ot_rescale():
    """28 bits: 12 low ones in three digits, 16 high ones in two groups of two, merged in two layers; two products."""
    cost = rescale(2048, 12, 32, "ot")
    assert cost.offline == Traffic(8 + 4 * 18 * 2048 + 8 + 2 * 8192, 8 + 16 + 4 * 30 * 2048, 1)  # 6 + 3 + 3 + 6 choices
    rounds = (
        (8 + 28 * 256, 8 + 2048 * (2 + 6 * 4)),
        (8 + 14 * 256 + 2 * 2 * 256, 8 + 4 * 256),  # 6 + 4 + 4 products, and the first merge's two
        (8 + 2 * 256, 8 + 4 * 256),  # the second merge; opened, with the masked carries
        (8 + 2 * 256, 8 + 8192),
    )
    assert cost.online == Traffic(sum(up for _, up in rounds), sum(down for down, _ in rounds), 4)
    assert (cost.relus, cost.rescales) == (0, 2048)


def test_delphi_rescale():
    cost = rescale(100, 12, 32, "delphi")
    assert cost.offline == Traffic(8 + 28672, 8 + 16 + 222208, 1)
    assert cost.online == Traffic(8 + 448, 8 + 57344, 1)
    assert rescale(2049, 12, 32, "delphi").online == Traffic(8 + 8192 + 8 + 64, 8 + 1048576 + 8 + 8192, 1)


def test_pool_has_a_vector_per_level():
    """Four windows of four: eight pairs, then four, each padded to 16 and with a hash key of its own; shift 0."""
    op = MaxPool("op", ("input",), (2, 2), (2, 2), (0,) * 4, 20, 100)
    cost = predict(plan_of(op, input_shape=(1, 4, 4))).ops["op"]
    one = relu(16, 20, 0, 32, "ot")
    assert cost.relus == 12
    assert cost.offline == Traffic(2 * one.offline.up_bytes, 2 * one.offline.down_bytes, 1)
    assert cost.online == Traffic(2 * one.online.up_bytes, 2 * one.online.down_bytes, 2 * one.online.rounds)


@pytest.mark.parametrize("batch", [1, 3])
def test_kept_subset(batch):
    kept = pack_kept(np.arange(60) < 20)
    with_shift = predict(plan_of(Relu("op", ("input",), 4, 20, 10, kept), LAST), batch=batch).ops["op"]
    a, b = relu(20 * batch, 20, 4, 32, "ot"), rescale(40 * batch, 4, 32, "ot", 20)
    assert (with_shift.relus, with_shift.rescales) == (20 * batch, 40 * batch)
    assert with_shift.online == Traffic(
        a.online.up_bytes + b.online.up_bytes,
        a.online.down_bytes + b.online.down_bytes,
        max(a.online.rounds, b.online.rounds),
    )
    assert with_shift.offline.up_bytes == a.offline.up_bytes + b.offline.up_bytes
    assert with_shift.offline.rounds == 1
    without = predict(plan_of(Relu("op", ("input",), 0, 20, 10, kept), LAST), batch=batch).ops["op"]
    assert without == relu(20 * batch, 20, 0, 32, "ot")


def test_input_output_and_free_ops():
    plan = plan_of(Rescale("up", ("input",), -3, 10), ring_bits=37)
    predicted = predict(plan, batch=2)
    assert predicted.ops == {
        "input": Cost(offline=Traffic(24, 0, 0), online=Traffic(8 + 555, 0, 1)),  # 120 elements of 37 bits
        "up": Cost(),
        "output": Cost(offline=Traffic(2 * 56, 56 + 9, 1), online=Traffic(0, 8 + 555, 0)),
    }
    assert predicted.total.online == Traffic(563, 563, 1)
    assert predicted.total.offline == Traffic(136, 65, 1)


def test_homomorphic_frames_are_per_image():
    """22 uploads in frames of eight, 64 responses of 22528 + 4864 bytes; twice."""
    plan = plan_of(conv("c", "input", 64), input_shape=(64, 32, 32))
    cost = predict(plan, batch=2).ops["c"]
    assert cost.offline == Traffic(2 * (22 * 51216 + 3 * 8), 2 * (64 * 27392 + 8 * 8), 1)
    assert (cost.stored_bytes_client, cost.stored_bytes_server) == (2 * 8 * 131072, 2 * 8 * 65536)


def test_setup():
    encryption = 16 + 51200
    plan = plan_of(conv("c", "input", 2))
    ciphertexts, public_keys, points = 256 * 1088, 128 * 1184, 128 * 32
    up = 8 + 64 + encryption + 8 + ciphertexts + 4112 + 512
    setup = Traffic(up, 8 + points + public_keys + 8 + 4112, 2)
    assert packing_levels(plan) == []
    assert predict(plan, "delphi").setup.offline == predict(plan, "ot").setup.offline == setup


def test_setup_with_packing_keys():
    plan = plan_of(conv("c", "input", 64), input_shape=(64, 4, 4))
    levels = packing_levels(plan)
    assert levels
    without = predict(plan_of(conv("c", "input", 2))).setup.offline
    assert predict(plan).setup.offline == without + Traffic(len(levels) * 2 * (16 + 51200))


def test_a_batch_of_delphi_has_an_extension_of_its_own():
    plan = plan_of(conv("a", "input", 2), Relu("r", ("a",), 0, 20, 10))
    ot, delphi = (predict(plan, protocol).ops["input"].offline for protocol in ("ot", "delphi"))
    assert delphi == ot + Traffic(8 + 4112, 8 + 512)


def test_total_rounds():
    plan = plan_of(
        conv("a", "input", 2),
        conv("b", "a", 2),
        Relu("r", ("b",), 0, 20, 10),
        conv("c", "r", 2),
        Rescale("s", ("c",), 2, 10),
    )
    predicted = predict(plan)
    assert predicted.total.online.rounds == sum(predicted.ops[name].online.rounds for name in ("r", "s")) + 1
    assert predict(plan, "delphi").total.online.rounds == 2 + 1
    assert predicted.total.offline.rounds == 2 + 2
    assert predict(plan_of(conv("a", "input", 2))).total.offline.rounds == 1 + 1


def test_resnet18_as_designed():
    """About 30 MB up and 16 MB down of ciphertexts over 1 Gb/s, half of that over a tenth of it."""
    plan = resnet18()
    predicted = predict(plan)
    assert predicted.total.relus == 557056
    assert predict(plan, "delphi").total.online.rounds == 18
    assert 17 * 3 < predicted.total.online.rounds <= 17 * 4 + 1
    assert predicted.total.offline.rounds == 3
    for rate, up, down in ((10**9, 30.2e6, 15.6e6), (10**8, 13.5e6, 10.1e6)):
        ops = predict(replace(plan, link_rate=rate)).ops.items()
        linear = total(cost for name, cost in ops if not cost.relus and name not in ("input", "output"))
        assert linear.offline.up_bytes == pytest.approx(up, rel=0.01)
        assert linear.offline.down_bytes == pytest.approx(down, rel=0.01)


@pytest.mark.parametrize("protocol", ["ot", "delphi"])
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
    with pytest.raises(SettingError, match="unknown protocol 'magic'"):
        predict(resnet18(8), "magic")
