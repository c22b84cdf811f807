"""Verdicts on made-up records, what each claim needs, and the pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepreduce.errors import MissingPackageError
from deepreduce.reproduce.claims.claims import CLAIMS, Claim, judge, needed
from deepreduce.reproduce.claims.claims_page import write_claims
from deepreduce.reproduce.comparison import Comparison, accuracy, critical, decide
from deepreduce.reproduce.job_factory import JobFactory
from deepreduce.reproduce.records import Records
from deepreduce.reproduce.scale import find_scale
from deepreduce.reproduce.session import lookup
from deepreduce.reproduce.training import Training
from deepreduce.search.criticality import criticality
from reproduce_fixture import lookup_of, record, write_cifar100

SEEDS = range(5)
# The paper's, percent: table 1 (with KD, without), 2, 7, 9.
PAPER = {
    "S1": (59.85, 61.9),
    "S2": (68.79, 67.63),
    "S3": (69.90, 67.4),
    "S4": (63.16, 58.9),
    "S2^RT+S3^RT+S4^RT": (74.72,),
    "S2+S3+S4, alpha=0.5": (73.78,),
    "S2^RT+S3^RT": (71.95,),
    "S2+S3, alpha=0.5": (71.16,),
    "S3^RT+S4^RT": (71.06,),
    "S3+S4, alpha=0.5": (70.29,),
    "S2^RT+S3+S4^RT": (74.8,),
    "resnet10 full, alpha=0.5": (72.5,),
    "S2^RT+S3^RT, alpha=0.5": (71.0,),
    "S2^RT+S3^RT+S4^RT, rho=0.5": (68.5,),
    "resnet9 full, alpha=0.5, rho=0.5": (66.2,),
    "S2^RT+S3^RT, rho=0.5": (68.1,),
    "full, alpha=0.25": (70.19,),
    "full, rho=0.5": (72.72,),
    "resnet10 full, alpha=0.25": (66.88,),
    "resnet10 full, rho=0.5": (71.86,),
    "resnet6 full, alpha=0.25": (56.9,),
    "resnet6 full, rho=0.5": (68.09,),
}
FULL_RELUS = {"S1": 262144, "S2": 131072, "S3": 65536, "S4": 32768}


@pytest.fixture
def cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_cifar100(tmp_path / "data")
    monkeypatch.setenv("DEEPREDUCE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def paper(training: Training) -> float:
    name = training.point if training.network == "resnet18" else f"{training.network} {training.point}"
    return PAPER[name][0 if training.kd else 1]


def _claim(name: str) -> Claim:
    return next(claim for claim in CLAIMS if claim.name == name)


def test_the_papers_own_numbers_bear_out_every_claim_but_the_one_that_is_mislabeled() -> None:
    verdicts = judge(lookup_of(paper), SEEDS)
    outcomes = {verdict.claim.name: verdict.outcome for verdict in verdicts}
    assert outcomes.pop("depth-as-labelled") == "refuted", "by table 9's ResNet10"
    assert set(outcomes.values()) == {"confirmed"} and len(outcomes) == 9
    assert {verdict.seeds for verdict in verdicts} == {5}


def test_the_papers_differences_are_those_of_its_tables() -> None:
    """Every literal in CLAIMS against the statistic computed from the paper's accuracies and counts."""

    def exact(training: Training, seed: int) -> Any:
        relus = FULL_RELUS.get(training.point, 1000)
        return replace(record(training, seed, paper(training)), relus=relus)

    for claim in CLAIMS:
        for comparison in claim.comparisons:
            difference = comparison.above.by_seed(exact, [0])[0] - comparison.below.by_seed(exact, [0])[0]
            # Table 9 gives ResNet10 with rho=0.5 as 71.86 %; table 7 as 68.1 %, which is ResNet6's.
            expected = 2.9 if comparison.below.name == "ResNet10, rho=0.5" else difference
            assert comparison.paper == pytest.approx(expected, abs=0.006), comparison.label


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_claim_is_refuted_by_the_opposite(claim: Claim) -> None:
    numbers = paper if claim.name == "depth-as-labelled" else lambda training: 100 - paper(training)
    verdict = judge(lookup_of(numbers), SEEDS, [claim])[0]
    if claim.name == "criticality-order":
        # S1 is then the best and S3 the worst, whose C is 0: the last two steps are on the other side.
        assert [row.outcome for row in verdict.compared] == ["refuted", "refuted", "refuted"]
    assert verdict.outcome == "refuted"


def test_a_small_difference_is_undecided() -> None:
    verdicts = judge(lookup_of(lambda training: 50.0), SEEDS)
    assert {verdict.outcome for verdict in verdicts if not verdict.claim.name.endswith("critical")} == {"undecided"}


def test_one_refuted_comparison_refutes() -> None:
    worse = "S2^RT+S3^RT"
    verdict = judge(
        lookup_of(lambda training: 60.0 if training.point == worse else paper(training)),
        SEEDS,
        [_claim("thinning-over-channels")],
    )[0]
    assert [row.outcome for row in verdict.compared] == ["confirmed", "refuted", "confirmed"]
    assert verdict.outcome == "refuted"


def test_fewer_than_five_common_seeds_are_not_run() -> None:
    verdict = judge(lookup_of(paper, seeds=4), SEEDS, [_claim("depth")])[0]
    assert (verdict.outcome, verdict.seeds) == ("not run", 4)
    assert verdict.compared[0].paired is not None, "what there is is shown"
    assert judge(lookup_of(paper), range(4), [_claim("depth")])[0].outcome == "not run"
    assert judge(lookup_of(paper), [0, 0, 1, 2, 3, 3], [_claim("depth")])[0].seeds == 4, "a seed counts once"
    missing = lookup_of(lambda t: None if t.point == "S3^RT+S4^RT" else paper(t))
    verdict = judge(missing, SEEDS, [_claim("thinning-over-channels")])[0]
    assert (verdict.outcome, verdict.seeds) == ("not run", 0)
    assert [row.outcome for row in verdict.compared] == ["confirmed", "confirmed", "not run"]


def test_intervals_are_adjusted_for_the_comparisons_of_their_claim() -> None:
    find = lookup_of(paper)
    comparison = _claim("depth").comparisons[0]
    alone, with_others = decide(comparison, find, SEEDS), decide(comparison, find, SEEDS, 3)
    assert alone.paired is not None and with_others.paired is not None
    ratio = (with_others.paired.high - with_others.paired.low) / (alone.paired.high - alone.paired.low)
    assert ratio == pytest.approx(3.9608 / 2.7764, rel=1e-4)
    for claim in CLAIMS:
        [verdict] = judge(find, SEEDS, [claim])
        assert {row.paired.comparisons for row in verdict.compared if row.paired} == {len(claim.comparisons)}


def test_criticality_is_of_each_seed() -> None:
    accuracies = {"S1": [10.0, 20.0], "S2": [30.0, 10.0], "S3": [40.0, 30.0], "S4": [20.0, 15.0]}
    trainings = {stage: Training(point=stage).distilled() for stage in accuracies}

    def find(training: Training, seed: int) -> Any:
        return record(training, seed, accuracies[training.point][seed])

    found = critical("S4", trainings).by_seed(find, [0, 1])
    relus = {"S1": 16384, "S2": 8192, "S3": 4096, "S4": 2048}
    for seed in (0, 1):
        of_seed = {stage: values[seed] for stage, values in accuracies.items()}
        assert found[seed] == criticality(of_seed, relus)["S4"]


def test_what_is_needed_is_seed_by_seed_and_named_once() -> None:
    wanted = needed([0, 1])
    assert len(wanted) == len(set(wanted)) == 2 * 26
    assert [seed for _, seed in wanted] == [0] * 26 + [1] * 26
    assert all(training.teacher is None or training.teacher == Training() for training, _ in wanted)
    assert {t.point for t, _ in needed([0], [_claim("least-critical")])} == {"S1", "S2", "S3", "S4"}


def test_the_reduced_network_never_has_more_relus(tmp_path: Path, cifar100: Path) -> None:
    lab = JobFactory(find_scale("full"), tmp_path)
    for name in (
        "thinning-over-channels",
        "depth",
        "depth-as-labelled",
        *(f"resolution-over-channels-resnet{n}" for n in (18, 10, 6)),
    ):
        for comparison in _claim(name).comparisons:
            above, below = (lab.cost(s.trainings[0]).relus for s in (comparison.above, comparison.below))
            assert above <= below, comparison.label
            if not name.startswith("depth"):
                assert above == below


def test_a_later_claim_needs_no_new_code() -> None:
    """Settings, recipes and starts are part of a training; the statistic is any number per seed."""
    teacher = Training(settings=(("label_smoothing", 0.1),))
    strong = replace(Training(point="S3").distilled(teacher), settings=(("warm_start", True),))
    claim = Claim(
        "strong", "The strong recipe helps.", "ours", (Comparison(accuracy("s", strong), accuracy("b", Training())),)
    )
    find = lookup_of(lambda t: 60.0 if t.settings else 50.0)
    assert judge(find, SEEDS, [claim])[0].outcome == "confirmed"


def test_records_are_found_by_the_labs_digests(tmp_path: Path, cifar100: Path) -> None:
    lab = JobFactory(find_scale("small"), tmp_path)
    records = Records(tmp_path / "records.jsonl")
    training = Training("resnet6")
    records.add(replace(record(training, 0, 31.0), digest=lab.spec(training, 0).digest))
    find = lookup([lab], records)
    found = find(training, 0)
    assert found is not None and found.test_accuracy == 31.0
    assert find(training, 1) is None and find(training.distilled(), 0) is None


def _write(folder: Path, **options: Any) -> list[Path]:
    find = lookup_of(lambda t: None if t.network == "resnet6" else paper(t))
    verdicts = judge(find, SEEDS)
    command = "deepreduce reproduce claims"
    return write_claims(folder, find_scale("small"), verdicts, find, SEEDS, command, "2026-11-22", **options)


def test_the_files(tmp_path: Path) -> None:
    written = _write(tmp_path)
    assert [path.name for path in written] == ["claims.json", "claims.md", "claims.svg"]
    content = json.loads(written[0].read_text())
    assert content["command"] == "deepreduce reproduce claims" and content["scale"]["name"] == "small"
    assert content["environments"] == [
        {"hardware": "a machine", "device": "cpu", "threads": 1, "torch": "2.13.0", "deepreduce": "0.1.0"}
    ]
    assert content["trainings"] == 24 * 5
    outcomes = {claim["name"]: claim["outcome"] for claim in content["claims"]}
    assert outcomes.pop("resolution-over-channels-resnet6") == "not run"
    assert outcomes.pop("depth-as-labelled") == "refuted"
    assert set(outcomes.values()) == {"confirmed"}
    thinning = next(c for c in content["claims"] if c["name"] == "thinning-over-channels")["comparisons"][0]
    assert thinning["paper"] == 0.94 and thinning["paired"]["seeds"] == [0, 1, 2, 3, 4]
    differences = [a - b for a, b in zip(thinning["above_values"], thinning["below_values"], strict=True)]
    assert thinning["paired"]["mean"] == pytest.approx(sum(differences) / 5)
    page = written[1].read_text()
    assert page.count("**confirmed**") == 8 and page.count("| not run | 0 |") == 1 and "**refuted**" in page
    assert "Bonferroni" in page and "deepreduce reproduce claims" in page and "a quarter of the channels" in page
    svg = ET.fromstring(written[2].read_bytes())
    assert svg.tag.endswith("svg")
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in _write(tmp_path)] == first, "the same records give the same bytes"


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match="matplotlib"):
        _write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert [path.name for path in _write(tmp_path, figures=False)] == ["claims.json", "claims.md"]


def test_the_page_of_nothing(tmp_path: Path) -> None:
    find = lookup_of(lambda t: None)
    page = write_claims(tmp_path, find_scale("full"), judge(find, SEEDS), find, SEEDS, "x", "2026-11-22")[1].read_text()
    assert "nothing is recorded" in page and page.count("| not run | 0 |") == 10


def test_nothing_of_it_needs_a_data_set() -> None:
    """Claims are declared without loading anything."""
    code = "from deepreduce.reproduce.claims.claims import CLAIMS; print(len(CLAIMS))"
    environment = {**os.environ, "DEEPREDUCE_DATA": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "10"
