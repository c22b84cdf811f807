"""``deepreduce reproduce``: run what is missing, then write what is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from ..errors import DataError, SettingError, StoreError, nearest
from ..files import read_json, write_json
from ..jobs.executors import Executor
from ..jobs.observer import JobObserver
from .comparison import Lookup
from .job_factory import JobFactory
from .latency import predict_missing, read_latencies
from .provenance import today
from .records import Record, Records
from .run import RunOutcome, run_missing
from .scale import Scale
from .study import Context, Sequel, Study
from .tables.study import TableStudy
from .training import Training

ALL = "all"


@dataclass(frozen=True)
class Place:
    """Folders of a run: ``results`` is kept with the source, ``work`` (jobs with their weights) is not."""

    results: Path
    work: Path

    @property
    def records(self) -> Path:
        """A line for each training, of every scale."""
        return self.results / "records.jsonl"

    @property
    def digests(self) -> Path:
        """The content of the data sets that the records are of: scale -> data set -> digest."""
        return self.results / "data.json"

    @property
    def latency(self) -> Path:
        """Predicted seconds."""
        return self.results / "latency.json"


def choose_studies(names: Sequence[str], studies: Mapping[str, Study]) -> tuple[Study, ...]:
    """Return the studies of those names, each once, in the order of ``studies``; ``all`` is all. Raises
    `SettingError`.
    """
    for name in names:
        if name != ALL and name not in studies:
            raise SettingError(f"there is nothing to reproduce called {name!r}", nearest(name, (ALL, *studies)))
    return tuple(study for name, study in studies.items() if ALL in names or name in names)


def wanted_trainings(studies: Iterable[Study], seeds: Sequence[int]) -> list[tuple[Training, int]]:
    """Return all trainings at the first seed, then all at the next: a run that is stopped leaves whole seeds.

    Within a seed the studies follow each other; what several of them need comes once.
    """
    trainings = dict.fromkeys(training for study in studies for training in study.trainings)
    return [(training, seed) for seed in dict.fromkeys(seeds) for training in trainings]


def run_studies(
    studies: Sequence[Study],
    scale: Scale,
    seeds: Sequence[int],
    place: Place,
    executor: Executor,
    observer: JobObserver | None = None,
    time_limit_s: float = inf,
    watch_test: bool = False,
) -> RunOutcome:
    """Train what ``studies`` lack. Everything that ends is recorded at once; unfinished trainings go on another time.

    Trainings on data that cannot be had are left out with a notice, unless nothing else is left, which raises its
    `DataError`.
    """
    observer = observer or JobObserver()
    lab, records = JobFactory(scale.for_this_processor(), place.work), Records(place.records)
    wanted = wanted_trainings(studies, seeds)
    missing: dict[str, DataError] = {}
    for name in dict.fromkeys(training.data for training, _ in wanted):
        try:
            _note_digest(place.digests, scale.name, name, lab.data(name).digest, records)
        except DataError as problem:
            missing[name] = problem
    possible = [(training, seed) for training, seed in wanted if training.data not in missing]
    if missing and not possible:
        raise next(iter(missing.values()))
    for name, error in missing.items():
        observer.notice(f"what needs {name} is left out: {error}")
    deadline = time.monotonic() + time_limit_s
    outcome = run_missing(lab, records, possible, executor, observer, time_limit_s, watch_test=watch_test)
    tried = set(possible)
    while later := [pair for pair in _later(studies, lab, records, seeds, missing) if pair not in tried]:
        left = deadline - time.monotonic()
        if outcome.stopped or left <= 0:
            break
        then = run_missing(lab, records, later, executor, observer, left, watch_test=watch_test)
        outcome = RunOutcome({**outcome.failed, **then.failed}, then.stopped)
        tried |= set(later)  # what failed would fail again
    return outcome


def _later(
    studies: Iterable[Study], lab: JobFactory, records: Records, seeds: Sequence[int], missing: Iterable[str]
) -> list[tuple[Training, int]]:
    """Return what follows from what is recorded by now: the ablation's ingredients that were kept, together."""
    found = lookup([lab], records)
    trainings = dict.fromkeys(
        training
        for study in studies
        if isinstance(study, Sequel)
        for training in study.then(lab.scale, found, seeds)
        if training.data not in missing
    )
    return [(training, seed) for seed in dict.fromkeys(seeds) for training in trainings]


def _known_digests(path: Path) -> dict[str, dict[str, str]]:
    known = read_json(path) if path.is_file() else {}
    if not isinstance(known, dict) or not all(isinstance(digests, dict) for digests in known.values()):
        raise StoreError(f"{path} is damaged: it is not a table of digests by scale", "restore it from version control")
    return known


def _note_digest(path: Path, scale: str, name: str, digest: str, records: Records) -> None:
    known = _known_digests(path)
    before = known.get(scale, {}).get(name)
    if before == digest:
        return
    if before is not None and any(record.scale == scale and record.data == name for record in records):
        raise StoreError(
            f"{path.parent} has results on another {name} than the one here",
            "write to another `results` folder, or get the official files",
        )
    known.setdefault(scale, {})[name] = digest
    write_json(path, known)


def write_results(
    studies: Sequence[Study],
    scale: Scale,
    seeds: Sequence[int],
    place: Place,
    command: str,
    *,
    figures: bool = True,
    latency: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Write what is recorded of ``studies``; no images are needed. ``latency`` predicts seconds that are missing."""
    rows = [row for study in studies if isinstance(study, TableStudy) for row in study.table.rows]
    seconds = predict_missing(place.latency, rows, tell) if latency else read_latencies(place.latency)
    digests = _known_digests(place.digests).get(scale.name, {})
    labs = [JobFactory(variant, place.work, digests) for variant in scale.variants()]
    found = lookup(labs, Records(place.records))
    context = Context(labs[0], found, tuple(seeds), command, today(), figures, seconds)
    return [path for study in studies for path in study.write(place.results, context)]


def lookup(labs: Sequence[JobFactory], records: Records) -> Lookup:
    """Return what finds the record of a training at a seed.

    ``labs`` are those of one scale's variants. All that is found of a seed is of one variant, the one that most of its
    records are of (of two with as many, the first), so that a seed's trainings can be compared with each other. Only
    what may be there is hashed.
    """
    seen = [records.at(lab.scale.name, lab.scale.recipe.precision) for lab in labs] if len(labs) > 1 else []

    def find(training: Training, seed: int) -> Record | None:
        if not records.mentions(training.network, training.data, seed):
            return None
        lab = max(zip(labs, seen, strict=True), key=lambda pair: pair[1][seed])[0] if seen else labs[0]
        try:
            return records.get(lab.spec(training, seed).digest)
        except DataError:
            return None

    return find
