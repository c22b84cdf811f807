"""Result of a search: the trained networks, and which of them are Pareto-optimal."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ModelError, PointError, SettingError, StoreError, nearest
from ..files import read_json
from ..jobs.store import JobStore
from ..networks.network import Network
from ..networks.source import ModelSource
from ..reduce.build import reduce_to

FILE = "frontier.json"
PROGRESS = "progress.json"  # the same of a search that is not finished
MAX_LOSS = 1.0  # percentage points of validation accuracy that `Frontier.best` lets go
KEYS = ("format", "settings", "data", "criticality", "networks", "failed")


@dataclass(frozen=True)
class TrainedNetwork:
    """One training's outcome. ``kd`` tells whether it was distilled; accuracies are percent; ``job`` is its folder.

    ``role`` is teacher, profile or candidate, ``step`` the rewrite that made it. ``test_accuracy`` is None for
    networks that are not on the frontier: only those were tested. ``private`` holds what was measured of it in private,
    by ``<protocol>@<network>`` (`deepreduce.benchmark.frontier.record.RunSummary`).
    """

    name: str
    role: str
    step: str
    kd: bool
    relus: int
    params: int
    macs: int
    validation_accuracy: float
    job: str
    seconds: float
    epochs: int
    test_accuracy: float | None = None
    on_frontier: bool = False
    private: dict[str, Any] = field(default_factory=dict)


def pareto(networks: Sequence[TrainedNetwork]) -> list[TrainedNetwork]:
    """``networks`` with ``on_frontier`` set: no other has at most as many ReLUs and at least its validation accuracy.

    Of equals the first stays.
    """
    marked = []
    for index, network in enumerate(networks):
        beaten = any(
            other.relus <= network.relus
            and other.validation_accuracy >= network.validation_accuracy
            and (
                other.relus < network.relus
                or other.validation_accuracy > network.validation_accuracy
                or position < index
            )
            for position, other in enumerate(networks)
            if other is not network
        )
        marked.append(replace(network, on_frontier=not beaten))
    return marked


class Frontier(Sequence[TrainedNetwork]):
    """The Pareto frontier, from most to fewest ReLUs; index it by position or by a network's name.

    ``frontier["S2^RT+S3^RT"]`` is any network that was trained, ``frontier["full"]`` the full one;
    ``frontier.best(max_loss=1)`` is the smallest that is within a point of its accuracy. ``content`` is everything in
    ``frontier.json``; ``networks`` are all that were trained.
    """

    def __init__(self, directory: Path, content: dict[str, Any], source: ModelSource | None = None) -> None:
        self.directory = directory
        self.content = content
        self.networks = tuple(TrainedNetwork(**record) for record in content["networks"])
        self._source = source
        self._points = sorted((n for n in self.networks if n.on_frontier), key=lambda n: -n.relus)

    @classmethod
    def load(cls, directory: str | Path, model: Any = None) -> Frontier:
        """Read a finished search. ``model`` is needed (only to get modules) if the search was given an object."""
        directory = Path(directory)
        if not (directory / FILE).is_file():
            raise StoreError(f"{directory} holds no finished search", f"deepreduce search MODEL --out {directory}")
        content = read_json(directory / FILE, KEYS)
        settings = content["settings"]
        source = None if model is None else ModelSource(model, settings["width"], settings["stages"])
        return cls(directory, content, source)

    def __len__(self) -> int:
        return len(self._points)

    def __iter__(self) -> Iterator[TrainedNetwork]:
        return iter(self._points)

    def __getitem__(self, key: Any) -> Any:
        """Return a `TrainedNetwork` by position or name, or a list of them by slice."""
        return self._find(key) if isinstance(key, str) else self._points[key]

    def __repr__(self) -> str:
        lines = [
            f"{n.relus:>10,} ReLUs  {n.validation_accuracy:6.2f} %  {n.name}{self.remark(n)}" for n in self.with_teacher
        ]
        return "\n".join([f"Frontier of {len(self)} networks:", *lines])

    @property
    def teacher(self) -> TrainedNetwork:
        """The full network as it was trained, whether or not it is on the frontier."""
        found = next((network for network in self.networks if network.role == "teacher"), None)
        if found is None:
            raise PointError(f"{self.directory} has no record of the full network", "run the search again")
        return found

    @property
    def with_teacher(self) -> list[TrainedNetwork]:
        """The frontier with the full network before it, for comparison, where that is not one of its points."""
        others = [n for n in self.networks if n.role == "teacher" and not n.on_frontier]
        return [*others, *self._points]

    def remark(self, network: TrainedNetwork) -> str:
        """Return what a table says after a network's name: whether it is the teacher, or was trained without KD."""
        if network.role == "teacher":
            return " (teacher)" if network.on_frontier else " (teacher, dominated)"
        return "" if network.kd else " (without KD)"

    def best(self, max_loss: float = MAX_LOSS) -> TrainedNetwork:
        """Return the network of fewest ReLUs whose validation accuracy is at most ``max_loss`` percentage points below
        the full network's: that one itself where no reduced network is.

        Raises `SettingError` for a loss that is not in [0, 100].
        """
        if not 0 <= max_loss <= 100:
            raise SettingError(f"a loss of {max_loss:g} percentage points is not in [0, 100]", "1 is usual")
        least = self.teacher.validation_accuracy - max_loss - 1e-9  # accuracies are quotients
        within = [network for network in self.with_teacher if network.validation_accuracy >= least]
        return min(within, key=lambda network: (network.relus, -network.validation_accuracy))

    def loss(self, network: TrainedNetwork) -> float:
        """Return how many percentage points of validation accuracy a network has less than the full one."""
        return self.teacher.validation_accuracy - network.validation_accuracy

    def module(self, key: int | str | TrainedNetwork) -> Network:
        """Return the trained network in evaluation mode: an ``nn.Module`` [n, c, h, w] -> [n, classes].

        ``key`` is a position on the frontier, the name of any network that was trained, or its record.
        """
        chosen = key if isinstance(key, TrainedNetwork) else self[key]
        settings, data = self.content["settings"], self.content["data"]
        source = self._source or ModelSource(settings["model"], settings["width"], settings["stages"])
        if isinstance(source.model, str) and not settings["importable"]:
            raise ModelError(f"the search was given the object {settings['model']}", "Frontier.load(DIR, model=...)")
        full = source.build(tuple(data["input_shape"]), len(data["classes"]), settings["seed"])
        # Searches from before front padding trained networks without it.
        network = reduce_to(full, chosen.name, front_padding=settings.get("front_padding", False))
        network.load_state_dict(JobStore(self.directory / "jobs").weights(chosen.job))
        return network.eval()

    def plot(self, path: str | Path) -> Path:
        """Draw accuracy against ReLUs to an SVG or PNG file."""
        from ..report import frontier_figure

        return frontier_figure(self.directory, Path(path))

    def save(self, directory: str | Path) -> Path:
        """Copy the frontier, with weights and curves of every network, to another folder that `load` reads."""
        target = Path(directory)
        try:
            for network in self.networks:
                shutil.copytree(
                    self.directory / "jobs" / network.job, target / "jobs" / network.job, dirs_exist_ok=True
                )
            shutil.copy2(self.directory / "search.json", target / "search.json")
            shutil.copy2(self.directory / FILE, target / FILE)
        except OSError as error:
            raise StoreError(f"the frontier cannot be saved to {target}: {error}") from error
        return target

    def _find(self, name: str) -> TrainedNetwork:
        wanted = "".join(name.split())
        if wanted == "full":
            return self.teacher
        named = [network for network in self.networks if "".join(network.name.split()) == wanted]
        if not named:
            there = " | ".join(network.name for network in self)
            close = nearest(name, {network.name for network in self.networks})
            asked = f"{close} " if close.startswith("did you mean") else ""
            raise PointError(f"no network {name!r} was trained", f"{asked}on the frontier: {there}; also full")
        return max(named, key=lambda network: (network.on_frontier, network.kd))


def to_records(networks: Sequence[TrainedNetwork]) -> list[dict[str, Any]]:
    """Plain data for ``frontier.json``."""
    records = [asdict(network) for network in networks]
    return [{k: v for k, v in record.items() if k != "private" or v} for record in records]


def keep_measurements(content: dict[str, Any], path: Path) -> None:
    """Add to a new ``frontier.json`` what the one at ``path`` knows of the same jobs in private, and its targets."""
    before: dict[str, Any] = {}
    with contextlib.suppress(StoreError):  # there is none yet, or a damaged one, which is about to be replaced
        before = read_json(path, KEYS)
    records = (record for record in before.get("networks", []) if isinstance(record, dict))
    measured = {record.get("job"): record["private"] for record in records if record.get("private")}
    for record in content["networks"]:
        if record["job"] in measured:
            record["private"] = measured[record["job"]]
    if before.get("targets"):
        content["targets"] = before["targets"]
