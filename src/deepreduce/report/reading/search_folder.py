"""Reading a search folder: ``frontier.json`` strictly, the training curves forgivingly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import StoreError
from ...files import parse_json
from .json_fields import Fields, is_number, read_json
from .records import (
    FORMAT,
    ClassErrors,
    Criticality,
    Data,
    ReportedBudget,
    ReportedCompute,
    ReportedFailure,
    ReportedNetwork,
    ReportedProfile,
    ReportedProgress,
    ReportedTarget,
)

Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Search:
    """Content of ``frontier.json``, or of ``progress.json`` while the search is not finished (``progress``).

    ``effort`` is None for searches from before it was recorded.
    """

    version: str
    command: str
    created: str
    finished: bool
    settings: Rows
    versions: Rows
    data: Data
    profile: ReportedProfile
    criticality: tuple[Criticality, ...]
    networks: tuple[ReportedNetwork, ...]
    failed: tuple[ReportedFailure, ...]
    budgets: tuple[ReportedBudget, ...] = ()
    effort: ReportedCompute | None = None
    targets: tuple[ReportedTarget, ...] = ()
    progress: ReportedProgress | None = None


@dataclass(frozen=True)
class Curve:
    """Validation accuracy (percent, ``None`` is a gap) of one network after each epoch."""

    network: ReportedNetwork
    epochs: tuple[int, ...]
    accuracies: tuple[float | None, ...]


def read_search(directory: Path) -> Search:
    """Read ``directory/frontier.json``, or what an unfinished search has so far. Raises a `StoreError` naming what is
    wrong with it.
    """
    path = directory / "frontier.json"
    if not path.is_file() and (directory / "progress.json").is_file():
        path = directory / "progress.json"
    hint = f"run `deepreduce search MODEL --data DATA --out {directory}` first"
    if not directory.is_dir():
        raise StoreError(f"there is no folder {directory}", hint)
    if not path.is_file():
        raise StoreError(f"{directory} holds no search", hint)
    fields = read_json(path)
    version = fields.raw("format")
    if version != FORMAT or isinstance(version, bool):
        raise StoreError(
            f"{path} has format {version!r}, and this deepreduce reads format {FORMAT}",
            "report with the version that searched, or run the search again",
        )
    search = _read(fields)
    _check(search, path)
    return search


def read_curve(directory: Path, network: ReportedNetwork) -> Curve:
    """Return the curve in the network's ``metrics.json``; `StoreError` or `ValueError` when there is no usable one."""
    path = directory / "jobs" / network.job / "metrics.json"
    # A diverged training writes NaN: a gap in the line, not a broken file, so constants become null here.
    metrics = parse_json(path.read_bytes(), parse_constant=lambda _: None)
    points = Fields(metrics, str(path)).objects("history", _point)
    if not points:
        raise ValueError("its history is empty")
    return Curve(network, tuple(epoch for epoch, _ in points), tuple(accuracy for _, accuracy in points))


def read_class_errors(directory: Path, network: ReportedNetwork, classes: int) -> ClassErrors | None:
    """Return the network's errors by class; None where they were not recorded. Raises `StoreError`, `ValueError`,
    `OSError` when they cannot be read.
    """
    path = directory / "jobs" / network.job / "test.json"
    if not path.is_file():
        return None
    fields = read_json(path)
    if not fields.has("validation_classes"):  # from before they were recorded
        return None
    errors = ClassErrors.read(fields.child("validation_classes"))
    lengths = {len(values) for values in (errors.images, errors.correct, errors.taken_for, errors.taken_for_images)}
    if lengths != {classes} or any(index is not None and index >= classes for index in errors.taken_for):
        raise StoreError(f"{path} is damaged: its classes are not the {classes} of the data")
    return errors


def _read(f: Fields) -> Search:
    return Search(
        version=f.text("deepreduce"),
        command=f.text("command"),
        created=f.text("created"),
        finished=f.flag("finished"),
        settings=f.child("settings").flat(),
        versions=f.child("versions").flat(),
        data=Data.read(f.child("data")),
        profile=ReportedProfile.read(f.child("profile")),
        criticality=f.objects("criticality", Criticality.read),
        networks=f.objects("networks", ReportedNetwork.read),
        failed=f.objects("failed", ReportedFailure.read),
        budgets=f.objects("budgets", ReportedBudget.read) if f.has("budgets") else (),
        effort=ReportedCompute.read(f) if f.has("effort") else None,
        targets=f.objects("targets", ReportedTarget.read) if f.has("targets") else (),
        progress=ReportedProgress.read(f.child("progress")) if f.has("progress") else None,
    )


def _check(search: Search, path: Path) -> None:
    """Check the rules between the objects."""
    teachers = [network.name for network in search.networks if network.role == "teacher"]
    if len(teachers) > 1:
        raise StoreError(f"{path}: {len(teachers)} networks are the teacher ({', '.join(teachers)}), not one")
    for network in search.networks:
        if network.on_frontier and network.validation_accuracy is None:
            raise StoreError(f"{path}: {network.name!r} is on the frontier but has no validation accuracy")


def _point(f: Fields) -> tuple[int, float | None]:
    accuracy = f.raw("validation_accuracy")
    return f.count("epoch"), float(accuracy) if is_number(accuracy) else None
