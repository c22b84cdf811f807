"""The protocol that is taken by itself: what the model of seconds says, and what is said of it."""

import pytest

from deepreduce.export import plan_of
from deepreduce.plan.cost import choose_protocol, for_link, layout_rate, parse_link, run_seconds


@pytest.fixture(scope="module")
def plan():
    return plan_of("resnet9", "S2+S3", width=0.25, classes=10)[0]


@pytest.mark.parametrize("prefer", ["total", "online"])
@pytest.mark.parametrize("link", ["none", "lan", "wan", "10Mbit,5ms", "1Gbit,40ms", "1Gbit,200ms"])
def test_it_is_the_one_of_least_time(plan, link, prefer):
    choice = choose_protocol(plan, parse_link(link), prefer)
    seconds = {name: getattr(run_seconds(plan, name, 1, link=parse_link(link)), prefer) for name in ("ot", "delphi")}
    assert choice.protocol == min(seconds, key=seconds.get)
    assert {name: getattr(found, prefer) for name, found in choice.seconds.items()} == seconds


def test_bytes_decide_on_slow_links_and_rounds_on_long_ones(plan):
    assert choose_protocol(plan, parse_link("10Mbit,5ms"), "online").protocol == "ot"
    assert choose_protocol(plan, parse_link("1Gbit,100ms"), "online").protocol == "delphi"
    assert choose_protocol(plan, None).protocol == "ot"


def test_the_reason_names_link_and_seconds(plan):
    reason = choose_protocol(plan, parse_link("100Mbit,40ms")).reason
    assert reason.startswith("ot: ")
    assert "in all" in reason
    assert "100 Mb/s and 40 ms" in reason
    assert "(delphi " in reason
    assert "without a link" in choose_protocol(plan, None, "online").reason
    assert "online" in choose_protocol(plan, None, "online").reason


def test_a_plan_for_a_link(plan):
    assert for_link(plan, None) is plan
    assert for_link(plan, parse_link("wan")).link_rate == 10**8
    assert layout_rate(parse_link("10kbit,1s")) == 10**6  # the slowest that a plan is laid out for
    assert layout_rate(parse_link("none")) == 10**10
