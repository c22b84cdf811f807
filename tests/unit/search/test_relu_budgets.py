"""Budgets of ReLUs: how they are written, what is trained for them, which network is best under each."""

import pytest
from hypothesis import given, strategies as st

from deepreduce.cli.commands.search import ELEMENTS
from deepreduce.cli.output.search_results import COLUMNS
from deepreduce.errors import SettingError
from deepreduce.networks import build_zoo
from deepreduce.networks.network import Network
from deepreduce.reduce.elements.settings import METHODS, Linearize, make_linearize
from deepreduce.report.reading.records import BUDGET_KINDS, STEPS
from deepreduce.search.budgets import BOTH, FINE, KINDS, bests, parse_budgets, refinements
from deepreduce.search.frontier import TrainedNetwork

LAYOUT = Network.of(build_zoo("resnet10", width=0.0625, input_shape=(3, 16, 16), num_classes=4), (3, 16, 16)).layout


def trained(name: str, relus: int, accuracy: float, step: str = "culled", role: str = "candidate") -> TrainedNetwork:
    job, kd = f"{name} {relus} {accuracy} {step}", role == "candidate"
    return TrainedNetwork(name, role, step, kd, relus, 1, 1, accuracy, job=job, seconds=1, epochs=1)


@pytest.mark.parametrize(
    ("text", "budgets"),
    [
        ("100k,50k, 25k", (100_000, 50_000, 25_000)),
        ("7000,12.5k,1M", (1_000_000, 12_500, 7_000)),
        ("1K,1000,.5k", (1000, 500)),
        ((50_000, "25k"), (50_000, 25_000)),
        ((), ()),
    ],
)
def test_budgets_are_read(text, budgets):
    assert parse_budgets(text) == budgets


@pytest.mark.parametrize("text", ["", "50k,", "0", "-5k", "1.5", "12.0005k", "5q", "k", "1e9", "nan", "9" * 40])
def test_what_is_no_budget(text):
    with pytest.raises(SettingError, match="budget"):
        parse_budgets(text)


def test_fine_and_coarse_then_fine():
    networks = [
        trained("stem+S1+S2+S3+S4", 4000, 90.0, "full", "teacher"),
        trained("S2+S3+S4", 1600, 80.0),
        trained("S2^RT+S3^RT", 900, 82.0, "thinned"),
        trained("S3", 500, 70.0),
        trained("S3", 500, 99.0, "profiled", "profile"),  # without distillation
        trained("S3^RT, rho=0.5", 60, 50.0, "resolution"),
    ]
    found, notices = refinements((3500, 3000, 800, 400, 100, 10), LAYOUT, 3000, networks, "teacher's job")
    whole = "S1+S2+S3+S4"
    assert [(r.step, str(r.point), r.start) for r in found] == [
        (FINE, f"{whole}, relus=800", "teacher's job"),
        (BOTH, "S2^RT+S3^RT, relus=800", networks[2].job),  # beats what has more ReLUs
        (FINE, f"{whole}, relus=400", "teacher's job"),
        (BOTH, "S2^RT+S3^RT, relus=400", networks[2].job),
        (FINE, f"{whole}, relus=100", "teacher's job"),
        (FINE, f"{whole}, relus=10", "teacher's job"),
    ]
    assert [text.split(" ")[-1] for text in notices] == ["3,500", "3,000", "budget", "budget"]
    assert "more than 100 and at most 400 ReLUs" in notices[2]


networks = st.lists(
    st.builds(
        trained,
        st.just("S1"),
        st.integers(1, 30),
        st.integers(0, 9).map(float),
        st.sampled_from(["culled", "thinned", FINE, BOTH]),
    ),
    max_size=8,
    unique_by=lambda n: n.job,
)


@given(networks, st.lists(st.integers(1, 30), max_size=3))
def test_the_best_under_each_budget_by_brute_force(found, budgets):
    rows = bests(budgets, found)
    assert [row["relus"] for row in rows] == budgets
    jobs = {n.job: n for n in found}
    for row in rows:
        steps = {"coarse": ("culled", "thinned"), FINE: (FINE,), BOTH: (BOTH,), "choice": STEPS}
        for kind, among in steps.items():
            allowed = [n for n in found if n.relus <= row["relus"] and n.step in among]
            if not allowed:
                assert row[kind] is None
                continue
            top = max(n.validation_accuracy for n in allowed)
            fewest = min(n.relus for n in allowed if n.validation_accuracy == top)
            assert (jobs[row[kind]].validation_accuracy, jobs[row[kind]].relus) == (top, fewest)


def test_what_is_written_twice_agrees():
    assert KINDS == BUDGET_KINDS == COLUMNS
    assert {FINE, BOTH} < set(STEPS)
    fields = {"rounds", "share", "penalty", "growth", "gate_rate", "threshold"}
    assert fields | {"method"} == set(Linearize.__dataclass_fields__)
    assert all(name in ELEMENTS for name in fields)


def test_elements_settings_are_read():
    assert make_linearize() == Linearize()
    assert make_linearize("gates", {"rounds": "5", "share": "0.25"}) == Linearize("gates", rounds=5, share=0.25)
    assert METHODS[0] == Linearize().method
    for changes, reason in [
        ({"round": "5"}, "did you mean 'rounds'"),
        ({"rounds": "2.5"}, "is not a int"),
        ({"share": "2"}, "not in"),
        ({"threshold": "nan"}, "not in"),
        ({"method": "gates"}, "unknown elements setting"),
    ]:
        with pytest.raises(SettingError, match=reason):
            make_linearize(None, changes)
