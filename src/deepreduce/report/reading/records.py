"""Content of ``frontier.json`` as frozen records: one class per object of the file, each with its strict reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .json_fields import Fields

FORMAT = 1
ROLES = ("teacher", "profile", "candidate")
STEPS = ("full", "profiled", "culled", "thinned", "channels", "resolution", "both", "fine", "coarse-then-fine")


@dataclass(frozen=True)
class Private:
    """Cost of one network's private inference; ``key`` is ``<protocol>@<network>``, bytes are of both directions."""

    key: str
    online_s: float
    offline_s: float
    predicted_online_s: float
    predicted_offline_s: float
    online_bytes: int
    offline_bytes: int
    rounds: int
    relus: int
    convs_before: int
    convs_after: int
    run: str

    @property
    def protocol(self) -> str:
        """Protocol of the ReLUs."""
        return self.key.partition("@")[0]

    @property
    def network(self) -> str:
        """The connection."""
        return self.key.partition("@")[2]

    @classmethod
    def read(cls, key: str, f: Fields) -> Private:
        """Read one value of ``private``."""
        return cls(
            key=key,
            online_s=f.number("online_s"),
            offline_s=f.number("offline_s"),
            predicted_online_s=f.number("predicted_online_s"),
            predicted_offline_s=f.number("predicted_offline_s"),
            online_bytes=f.count("online_bytes"),
            offline_bytes=f.count("offline_bytes"),
            rounds=f.count("rounds"),
            relus=f.count("relus"),
            convs_before=f.count("convs_before"),
            convs_after=f.count("convs_after"),
            run=f.file_name("run"),
        )


@dataclass(frozen=True)
class ReportedNetwork:
    """One trained network; accuracies are percentages, ``None`` where it was not (yet) measured."""

    name: str
    role: str
    step: str
    kd: bool
    relus: int
    params: int
    macs: int
    validation_accuracy: float | None
    test_accuracy: float | None
    job: str
    seconds: float
    epochs: int
    on_frontier: bool
    private: tuple[Private, ...] = ()

    @property
    def label(self) -> str:
        """The name, told apart from its twin when the stage was profiled without distillation."""
        return self.name if self.kd or self.role != "profile" else f"{self.name} (no KD)"

    def measured(self, key: str) -> Private | None:
        """Return what it cost by that protocol over that network, if it was measured."""
        return next((private for private in self.private if private.key == key), None)

    @classmethod
    def read(cls, f: Fields) -> ReportedNetwork:
        """Read one element of ``networks``."""
        return cls(
            name=f.text("name"),
            role=f.choice("role", ROLES),
            step=f.choice("step", STEPS),
            kd=f.flag("kd"),
            relus=f.count("relus"),
            params=f.count("params"),
            macs=f.count("macs"),
            validation_accuracy=f.percent_or_none("validation_accuracy"),
            test_accuracy=f.percent_or_none("test_accuracy"),
            job=f.digest("job"),
            seconds=f.number("seconds"),
            epochs=f.count("epochs"),
            on_frontier=f.flag("on_frontier"),
            private=f.child("private").named(Private.read) if f.has("private") else (),
        )


@dataclass(frozen=True)
class Criticality:
    """One stage's row of the profiling step; ``criticality`` is C_k of the paper's equation 1."""

    stage: str
    relus: int
    accuracy_without_kd: float | None
    accuracy_with_kd: float | None
    criticality: float | None

    @classmethod
    def read(cls, f: Fields) -> Criticality:
        """Read one element of ``criticality``."""
        return cls(
            stage=f.text("stage"),
            relus=f.count("relus"),
            accuracy_without_kd=f.percent_or_none("accuracy_without_kd"),
            accuracy_with_kd=f.percent_or_none("accuracy_with_kd"),
            criticality=f.number_or_none("criticality"),
        )


BUDGET_KINDS = ("coarse", "fine", "coarse-then-fine")


@dataclass(frozen=True)
class ReportedBudget:
    """The best networks with at most ``relus`` ReLUs, as jobs: of each of `BUDGET_KINDS` (or None), and of all."""

    relus: int
    jobs: tuple[str | None, ...]
    choice: str | None

    @classmethod
    def read(cls, f: Fields) -> ReportedBudget:
        """Read one element of ``budgets``."""
        jobs = tuple(None if f.raw(kind) is None else f.digest(kind) for kind in BUDGET_KINDS)
        return cls(f.count("relus"), jobs, None if f.raw("choice") is None else f.digest("choice"))


@dataclass(frozen=True)
class TargetValue:
    """One target's value of the chosen network, in ReLUs, seconds or bytes."""

    target: str
    predicted: float
    measured: float
    holds: bool

    @classmethod
    def read(cls, f: Fields) -> TargetValue:
        """Read one element of ``values``."""
        return cls(f.text("target"), f.number("predicted"), f.number("measured"), f.flag("holds"))


@dataclass(frozen=True)
class ReportedTarget:
    """The choice for ``targets``, which hold together: a job with its ``values``; or None, and the ``nearest`` network
    with its predicted values. ``skipped`` networks could not be exported.
    """

    targets: tuple[str, ...]
    protocol: str
    job: str | None
    values: tuple[TargetValue, ...]
    nearest: str | None
    nearest_predicted: tuple[float, ...]
    skipped: tuple[str, ...]

    @classmethod
    def read(cls, f: Fields) -> ReportedTarget:
        """Read one element of ``targets``."""
        nearest = None if f.raw("nearest") is None else f.child("nearest")
        return cls(
            targets=f.texts("targets"),
            protocol=f.text("protocol"),
            job=None if f.raw("job") is None else f.digest("job"),
            values=f.objects("values", TargetValue.read),
            nearest=None if nearest is None else nearest.text("network"),
            nearest_predicted=() if nearest is None else nearest.numbers("predicted"),
            skipped=f.objects("skipped", lambda one: one.text("name")),
        )


@dataclass(frozen=True)
class ClassErrors:
    """Errors of one network by class, on validation images: of each class its images, how many are right, and the class
    that most others were taken for (None: none is wrong), with how many.
    """

    images: tuple[int, ...]
    correct: tuple[int, ...]
    taken_for: tuple[int | None, ...]
    taken_for_images: tuple[int, ...]

    @classmethod
    def read(cls, f: Fields) -> ClassErrors:
        """Read ``validation_classes`` of a job's ``test.json``."""
        taken = tuple(None if index < 0 else index for index in f.counts("taken_for", missing=-1))
        return cls(f.counts("images"), f.counts("correct"), taken, f.counts("taken_for_images"))


@dataclass(frozen=True)
class ReportedProgress:
    """Trainings that are done, of all that the search will need, as far as known."""

    done: int
    trainings: int

    @classmethod
    def read(cls, f: Fields) -> ReportedProgress:
        """Read ``progress``."""
        return cls(f.count("done"), f.count("trainings"))


@dataclass(frozen=True)
class ReportedFailure:
    """A job that ended with an error."""

    name: str
    role: str
    error: str

    @classmethod
    def read(cls, f: Fields) -> ReportedFailure:
        """Read one element of ``failed``."""
        return cls(name=f.text("name"), role=f.choice("role", ROLES), error=f.text("error"))


@dataclass(frozen=True)
class ReportedCost:
    """ReLUs, parameters and multiply-accumulates of one stage or layer, for one input image."""

    name: str
    stage: str
    relus: int
    params: int
    macs: int

    @classmethod
    def read_stage(cls, name: str, f: Fields) -> ReportedCost:
        """Read one value of ``profile.stages``."""
        return cls(name, name, f.count("relus"), f.count("params"), f.count("macs"))

    @classmethod
    def read_layer(cls, f: Fields) -> ReportedCost:
        """Read one element of ``profile.layers``."""
        return cls(f.text("name"), f.text("stage"), f.count("relus"), f.count("params"), f.count("macs"))


@dataclass(frozen=True)
class ReportedProfile:
    """Distribution of the full network's ReLUs, parameters and multiply-accumulates."""

    relus: int
    params: int
    macs: int
    stages: tuple[ReportedCost, ...]
    layers: tuple[ReportedCost, ...]

    @classmethod
    def read(cls, f: Fields) -> ReportedProfile:
        """Read ``profile``."""
        return cls(
            relus=f.count("relus"),
            params=f.count("params"),
            macs=f.count("macs"),
            stages=f.child("stages").named(ReportedCost.read_stage),
            layers=f.objects("layers", ReportedCost.read_layer),
        )

    @classmethod
    def of(cls, profile: Mapping[str, Any] | ReportedProfile) -> ReportedProfile:
        """Return the same profile as a record, from the shape it has in ``frontier.json``."""
        return profile if isinstance(profile, ReportedProfile) else cls.read(Fields(profile, "profile"))


@dataclass(frozen=True)
class Data:
    """The data set the search trained and measured on; sizes are numbers of images."""

    name: str
    digest: str
    train: int
    validation: int
    test: int
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    notices: tuple[str, ...]

    @classmethod
    def read(cls, f: Fields) -> Data:
        """Read ``data``."""
        return cls(
            name=f.text("name"),
            digest=f.text("digest"),
            train=f.count("train"),
            validation=f.count("validation"),
            test=f.count("test"),
            classes=f.texts("classes"),
            input_shape=f.counts("input_shape"),
            notices=f.texts("notices"),
        )


@dataclass(frozen=True)
class ReportedCompute:
    """Cost of the search, in MACs of training passes and in seconds, and how large its frontier's hypervolume is.

    ``reference_relus`` and ``reference_accuracy`` are the corner that the hypervolume is measured from; ``origin`` says
    where that accuracy comes from.
    """

    name: str
    full_macs: float
    spent_macs: float
    seconds: float
    hypervolume: float
    reference_relus: int
    reference_accuracy: float
    origin: str

    @classmethod
    def read(cls, f: Fields) -> ReportedCompute:
        """Read ``effort`` and ``hypervolume`` of the file's top level."""
        effort, volume = f.child("effort"), f.child("hypervolume")
        reference = volume.child("reference")
        return cls(
            name=effort.text("name"),
            full_macs=effort.number("full_macs"),
            spent_macs=effort.number("spent_macs"),
            seconds=effort.number("seconds"),
            hypervolume=volume.number("value"),
            reference_relus=reference.count("relus"),
            reference_accuracy=reference.number("accuracy"),
            origin=reference.text("origin"),
        )
