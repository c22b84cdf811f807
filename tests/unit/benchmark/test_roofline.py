"""The floors against counts made by hand, and rates that can be."""

import pytest

from deepreduce import _core
from deepreduce.benchmark.roofline import Rates, aes_calls, linear_floor_s, measure_rates, relu_floor
from deepreduce.plan import Relu, predict
from deepreduce.plan.cost.network_link import NetworkLink
from deepreduce.plan.execution.messages import relu_vector
from plan_samples import conv, plan_of

RATES = Rates(aes_blocks=1e9, memory_read_bytes=1e10, memory_copy_bytes=5e9, loopback_bytes=2e9, multiply_adds=1e10)


def sample():
    """One convolution, 64 ReLUs with a window of 20 and a shift of 8, one convolution."""
    relu = Relu("relu", ("first",), 8, 20, 2**15)
    return plan_of(conv("first", "input", 4), relu, conv("last", "relu", 2), input_shape=(2, 4, 4))


def test_relu_floor_counts_calls_material_and_bytes():
    floor = relu_floor(sample(), RATES)
    cost = predict(sample()).ops["relu"]
    assert floor.aes_us == 0  # online `ot` encrypts nothing
    assert floor.memory_us == pytest.approx(cost.stored_bytes_client / 64 / 1e4)
    assert floor.transfer_us == pytest.approx((cost.online.up_bytes + cost.online.down_bytes) / 64 / 2e3)
    assert floor.floor_us == floor.transfer_us
    assert floor.serial_us == floor.aes_us + floor.memory_us + floor.transfer_us


def test_delphi_evaluates_the_whole_circuit():
    gates = 3 * 31 - 8
    assert relu_floor(sample(), RATES, "delphi").aes_us == pytest.approx(2 * gates / 1e3)
    assert aes_calls(relu_vector(17, 32, 8, 32, "delphi")) == 32 * 2 * gates  # padded to groups of 16


def test_a_shaped_network_raises_the_transfer():
    plan, link = sample(), NetworkLink(1e6, 0.01)
    online = predict(plan).ops["relu"].online
    expected = 8 * (online.down_bytes + online.up_bytes) / 1e6 + online.rounds * 0.01
    assert relu_floor(plan, RATES, link=link).transfer_us == pytest.approx(1e6 * expected / 64)


def test_a_plan_without_relus_has_no_floor():
    assert relu_floor(plan_of(conv("only", "input", 3)), RATES).floor_us == 0


def test_linear_floor_counts_multiply_adds():
    macs = 4 * 16 * 2 * 9 + 2 * 16 * 4 * 9
    assert linear_floor_s(sample(), RATES, batch=3) == pytest.approx(3 * macs / 1e10)


def test_rates_are_those_of_a_machine():
    rates = measure_rates()
    assert 1e5 < rates.aes_blocks < 1e11
    assert 1e8 < rates.memory_copy_bytes < 1e12
    assert 1e8 < rates.memory_read_bytes < 1e12
    assert 1e7 < rates.loopback_bytes < 1e12
    assert 1e6 < rates.multiply_adds < 1e13
    if len(_core.cpu_paths()) > 1:  # AES instructions against bit slices
        before = _core.cpu_path()
        _core.select_cpu_path("scalar")
        slow = measure_rates().aes_blocks
        _core.select_cpu_path(before)
        assert rates.aes_blocks > 5 * slow
