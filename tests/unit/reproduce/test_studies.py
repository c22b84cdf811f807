"""Claims and ablation from the command line's side: named, listed, written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepreduce.errors import StoreError
from deepreduce.jobs.executors import InlineExecutor
from deepreduce.reproduce import session
from deepreduce.reproduce.claims.claims import needed
from deepreduce.reproduce.claims.studies import AblationStudy
from deepreduce.reproduce.job_factory import JobFactory
from deepreduce.reproduce.run import RunOutcome
from deepreduce.reproduce.scale import find_scale
from deepreduce.reproduce.study import Context
from deepreduce.reproduce.tables import STUDIES
from deepreduce.reproduce.tables.picture import published_points
from deepreduce.reproduce.training import Training
from reproduce_fixture import lookup_of, write_cifar100


def test_both_are_named() -> None:
    assert {training for training, _ in needed([0])} == set(STUDIES["claims"].trainings)
    assert len(STUDIES["ablation"].trainings) > 12


def test_both_are_written(tmp_path: Path) -> None:
    context = Context(
        JobFactory(find_scale("small"), tmp_path / "work"), lookup_of(lambda t: 50.0), (0, 1, 2, 3, 4), "c", "d"
    )
    for name in ("claims", "ablation"):
        written = STUDIES[name].write(tmp_path, context)
        folder = tmp_path / name / "small"
        assert written == [folder / f"{name}.{suffix}" for suffix in ("json", "md", "svg")]
        assert json.loads(written[0].read_text())["command"] == "c"


def test_what_is_kept_comes_later() -> None:
    study, scale = AblationStudy(), find_scale("small")
    settings = {"cutmix": 2.0, "attention_weight": 1.0, "ema_decay": 1.0}

    def accuracy(training):
        names = dict(training.settings) | dict(training.teacher.settings if training.teacher else ())
        return 50 + sum(settings.get(name, 0) for name in names)

    later = set(study.then(scale, lookup_of(accuracy), range(5))) - set(study.trainings)
    assert len(later) == 4


def test_a_setting_that_is_the_scales_own_is_no_job_of_its_own(tmp_path: Path, monkeypatch) -> None:
    write_cifar100(tmp_path / "data")
    monkeypatch.setenv("DEEPREDUCE_DATA", str(tmp_path / "data"))
    lab, study = JobFactory(find_scale("small"), tmp_path), AblationStudy()
    digests = {lab.spec(training, 0).digest for training in study.trainings}
    at_scale = {lab.spec(t, 0).digest for t in study.then(lab.scale, lambda *_: None, [0])}
    # Beyond those of the scale: the average over more batches, which only the full scale asks for.
    assert len(digests - at_scale) == 1


def test_published_points_are_those_of_others() -> None:
    methods = {point.method for point in published_points("cifar100")}
    assert not any("DeepReDuce" in name for name in methods) and {"SNL 2022", "DELPHI 2020"} <= methods


def test_what_follows_is_run_until_nothing_does_and_what_failed_once(tmp_path: Path, monkeypatch) -> None:
    write_cifar100(tmp_path / "data")
    monkeypatch.setenv("DEEPREDUCE_DATA", str(tmp_path / "data"))
    waves = [tuple(Training(point=f"S{i}") for i in range(1, last)) for last in (2, 3, 4)]
    runs: list[list[str]] = []

    class Study(AblationStudy):
        trainings = waves[0]

        def then(self, scale, lookup, seeds):
            return waves[min(len(runs), 2)]

    def run_missing(lab, records, wanted, *others, **options):
        runs.append([training.point for training, _ in wanted])
        return RunOutcome({runs[-1][0]: "diverged"}, False)

    monkeypatch.setattr(session, "run_missing", run_missing)
    place = session.Place(tmp_path / "results", tmp_path / "work")
    outcome = session.run_studies([Study()], find_scale("small"), (0,), place, InlineExecutor())
    assert runs == [["S1"], ["S2"], ["S3"]]
    assert outcome.failed.keys() == {"S1", "S2", "S3"} and not outcome.stopped


def test_a_recipe_by_name_is_as_precise_as_its_scale(tmp_path: Path) -> None:
    for name, precision in (("full", "fp32"), ("full-bf16", "bf16")):
        recipe = JobFactory(find_scale(name), tmp_path).recipe(Training(recipe="strong"))
        assert (recipe.precision, recipe.schedule, recipe.epochs) == (precision, "cosine", 120)


@pytest.mark.parametrize(("name", "content"), [("records.jsonl", b"\xff\xfe{}\n"), ("data.json", b"[1]")])
def test_damaged_results_are_told(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    place = session.Place(tmp_path, tmp_path / "work")
    with pytest.raises(StoreError, match=name):
        session.write_results([STUDIES["table1"]], find_scale("small"), (0,), place, "c", figures=False)
