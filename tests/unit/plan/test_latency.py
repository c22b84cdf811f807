"""The model of seconds: near what was recorded, and of the shape that a model of seconds has."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepreduce.export import plan_of
from deepreduce.plan import INPUT, OUTPUT, predict
from deepreduce.plan.cost.latency import DEFAULT_MACHINE, Machine, Seconds, op_seconds, run_seconds
from deepreduce.plan.cost.network_link import NetworkLink, for_link, parse_link

BENCH = Path(__file__).parents[3] / "bench"
# Files of records, the protocol that is read from each, and whether linear layers were merged. The constants of
# `delphi` were fitted on one machine, those of `ot` on another.
RECORDED = (
    ("private-unmerged_two-core-xeon*.json", "delphi", False),
    ("private_two-core-epyc*.json", "ot", True),
)
POINTS = ("full", "S2^RT+S3^RT+S4^RT", "S2^RT+S3^RT, alpha=0.5, rho=0.5")


@pytest.fixture(scope="module")
def plans():
    return {
        (point, merged): plan_of("resnet18", point, merge=merged)[0] for point in POINTS for merged in (False, True)
    }


@pytest.fixture(scope="module")
def small():
    return plan_of("resnet9", "S2+S3", width=0.125, classes=10, image=16)[0]


def recorded():
    return [
        run | {"merged": merged}
        for files, protocol, merged in RECORDED
        for path in sorted((BENCH / "results").glob(files))
        for run in json.loads(path.read_text())
        if run["point"] in POINTS and run["protocol"] == protocol
    ]


def test_there_are_records_of_both_protocols_and_three_networks():
    assert {(run["protocol"], run["network"]) for run in recorded()} >= {
        (protocol, network) for protocol in ("ot", "delphi") for network in ("none", "lan", "wan")
    }


@pytest.mark.parametrize("run", recorded(), ids=lambda run: f"{run['relus']} {run['protocol']} {run['network']}")
def test_what_was_recorded_is_predicted_within_a_quarter(plans, run):
    link = parse_link(run["network"])
    plan = for_link(plans[run["point"], run["merged"]], link)
    predicted = run_seconds(plan, run["protocol"], run["batch"], DEFAULT_MACHINE, link)
    assert predicted.online == pytest.approx(run["online"]["seconds"], rel=0.25)
    assert predicted.offline == pytest.approx(run["offline"]["seconds"], rel=0.25)


@pytest.mark.parametrize(
    "link", [None, NetworkLink(1e9, 0.001), NetworkLink(1e6, 0.5)], ids=["loopback", "lan", "slow"]
)
@pytest.mark.parametrize("protocol", ["ot", "delphi"])
def test_a_run_is_the_sum_of_its_ops(small, protocol, link):
    ops = op_seconds(small, protocol, link=link)
    assert set(ops) == {INPUT, OUTPUT, *(op.name for op in small.ops)}
    assert all(each.online >= 0 and each.offline >= 0 for each in ops.values())
    whole = run_seconds(small, protocol, link=link)
    assert sum(each.online for each in ops.values()) == pytest.approx(whole.online)
    assert sum(each.offline for each in ops.values()) == pytest.approx(whole.offline)
    assert whole.total == whole.online + whole.offline


def test_no_run_is_faster_than_its_bytes_and_rounds(small):
    link = NetworkLink(1e7, 0.05)
    cost, seconds = predict(small).total, run_seconds(small, link=link)
    for phase in ("online", "offline"):
        traffic = getattr(cost, phase)
        assert getattr(seconds, phase) >= 8 * traffic.down_bytes / link.rate
        assert getattr(seconds, phase) >= traffic.rounds * link.round_trip
    assert seconds.online >= 8 * (cost.online.down_bytes + cost.online.up_bytes) / link.rate


def test_slower_links_take_longer(small):
    links = [None, NetworkLink(1e9, 0.001), NetworkLink(1e9, 0.01), NetworkLink(1e8, 0.01), NetworkLink(1e6, 0.01)]
    seconds = [run_seconds(small, link=link) for link in links]
    assert [s.online for s in seconds] == sorted(s.online for s in seconds)
    assert [s.offline for s in seconds] == sorted(s.offline for s in seconds)


def test_more_work_takes_longer(small):
    assert run_seconds(small, batch=4).total > 1.5 * run_seconds(small).total
    assert run_seconds(small, "delphi").total > run_seconds(small).total
    free = replace(DEFAULT_MACHINE, digit_s=0.0, byte_online_s=0.0)
    assert run_seconds(small, machine=free).online < run_seconds(small).online
    assert Seconds(1, 2) + Seconds(3, 4) == Seconds(4, 6)


@pytest.mark.parametrize("network", ["none", "lan"])
def test_the_fit_finds_the_constants_that_made_the_runs(small, plans, network, monkeypatch):
    """Runs that were made by the model, with other constants than the source's."""
    monkeypatch.syspath_prepend(str(BENCH / "service"))
    monkeypatch.delitem(sys.modules, "timing", raising=False)
    import timing

    true = Machine(**{name: 3 * getattr(DEFAULT_MACHINE, name) for name in Machine.__dataclass_fields__})
    runs = []
    for name, plan in {"small": small, "large": plans[POINTS[2], True]}.items():
        for protocol in ("ot", "delphi"):
            for used in {"none", network}:
                link = parse_link(used)
                ops = op_seconds(plan, protocol, 1, true, link)
                whole = run_seconds(plan, protocol, 1, true, link)
                result = {"protocol": protocol, "batch": 1, "weight_bytes": 1 << 62, "network": used, "relus": 0}
                for phase in ("online", "offline"):
                    result[phase] = {"seconds": getattr(whole, phase)}
                result["ops"] = [
                    {"name": op, **{phase: {"seconds": getattr(s, phase)} for phase in ("online", "offline")}}
                    for op, s in ops.items()
                ]
                runs.append(timing.Timed(name, plan, result))
    machine = timing.fit_links(runs, timing.fit_computing(runs))
    errors = [
        getattr(timing._predicted(run, machine), phase) / run.result[phase]["seconds"] - 1
        for run in runs
        for phase in ("online", "offline")
    ]
    assert np.abs(errors).max() < 0.03
    if network == "none":
        assert machine.digit_s == pytest.approx(true.digit_s, rel=0.01)
        assert machine.product_s == pytest.approx(true.product_s, rel=0.01)
