"""What a run tells of its work, and how it dates its records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deepreduce.jobs.observer import JobObserver, Planned
from deepreduce.reproduce.job_factory import JobFactory
from deepreduce.reproduce.provenance import today
from deepreduce.reproduce.records import Records
from deepreduce.reproduce.run import _Recorder
from deepreduce.reproduce.scale import find_scale
from deepreduce.reproduce.training import Training
from reproduce_fixture import write_cifar100


class Seen(JobObserver):
    def __init__(self) -> None:
        self.jobs: list[Planned] = []

    def planned(self, job: Planned) -> None:
        self.jobs.append(job)


def test_work_counts_the_images_that_an_epoch_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``epoch_images`` of the recipe, not all training images."""
    write_cifar100(tmp_path / "data")
    monkeypatch.setenv("DEEPREDUCE_DATA", str(tmp_path / "data"))
    scale = find_scale("small")
    brief = replace(scale, recipe=replace(scale.recipe, epoch_images=10))
    work = []
    for chosen in (scale, brief):
        factory, seen, training = JobFactory(chosen, tmp_path), Seen(), Training("resnet6", "S2")
        planned = {factory.spec(training, 0).digest: (training, 0)}
        _Recorder(factory, Records(tmp_path / "records.jsonl"), planned, seen).announce()
        work.append(seen.jobs[0].work)
    images = len(factory.data("cifar100").train)
    assert images > 10 and work[1] == pytest.approx(work[0] * 10 / images)


def test_dates_follow_the_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert today() == "1970-01-02"
