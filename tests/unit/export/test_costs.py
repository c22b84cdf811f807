"""Costs predicted for untrained networks, against the plans of trained ones."""

import numpy as np
import pytest
import torch

from deepreduce.errors import ModelError, SettingError
from deepreduce.export import export_network, predicted_costs
from deepreduce.networks import ModelSource, Network
from deepreduce.plan.cost import layout_rate, parse_link, run_cost
from deepreduce.reduce import reduce_to
from real_ops import randomized

PICTURES = np.random.default_rng(0).normal(size=(4, 3, 32, 32))


@pytest.mark.parametrize("point", ["full", "S2^RT+S3^RT"])
def test_an_untrained_network_costs_what_its_plan_will(point):
    network = reduce_to(ModelSource("resnet10", 0.125).build((3, 32, 32), 10), point)
    costs = predicted_costs(network)
    assert [cost.link for cost in costs] == ["none", "lan", "wan"]
    trained = randomized(network)  # other weights, and statistics of batch normalization
    for cost in costs:
        plan = export_network(trained, PICTURES, link_rate=layout_rate(parse_link(cost.link))).plan
        real = run_cost(plan, cost.link)
        assert (cost.protocol, cost.relus, cost.rounds) == (real.protocol, real.relus, real.rounds)
        for quantity in ("offline_bytes", "online_bytes", "offline_seconds", "online_seconds"):
            assert getattr(cost, quantity) == pytest.approx(getattr(real, quantity), rel=0.1), quantity
    assert costs[0].online_seconds < costs[1].online_seconds < costs[2].online_seconds


def test_what_no_plan_has_is_named_and_links_are_read():
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.GELU(), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 3)
    )
    with pytest.raises(ModelError, match=r"1: gelu cannot be put into a plan.* 1 GELU .* \(replace them by ReLU"):
        predicted_costs(Network.of(module, (1, 8, 8)))
    with pytest.raises(SettingError, match="network 'dsl' is not known"):
        predicted_costs(Network.of(module, (1, 8, 8)), ["dsl"])
