"""``--target``: the best network under a budget by prediction, then measured: how good was the prediction?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...data import DataLike
from ...errors import PointError
from ...files import read_json, write_json
from ...locks import hold
from ...plan import Plan, predict
from ...plan.cost.latency import run_seconds
from ...plan.cost.network_link import parse_link
from ...search.frontier import FILE, KEYS, Frontier, TrainedNetwork
from ...search.targets import Choice, PredictedNetwork, Target, choose
from ..run import BenchOptions
from .observer import FrontierObserver
from .plan_cache import Exporter
from .points import measure_frontier
from .record import RunSummary, network_name


@dataclass(frozen=True)
class Kept:
    """One target's value of the chosen network, predicted and measured."""

    target: Target
    predicted: float
    measured: float

    @property
    def holds(self) -> bool:
        """Whether what was measured keeps the bound."""
        return self.target.holds(self.measured)

    @property
    def error(self) -> float:
        """How far the measured value is from the predicted one, relative to that."""
        return self.measured / self.predicted - 1


@dataclass(frozen=True)
class Pick:
    """``network`` is None where nothing fits; ``nearest`` then says what came closest."""

    targets: tuple[Target, ...]
    protocol: str
    network: TrainedNetwork | None
    kept: tuple[Kept, ...]
    nearest: PredictedNetwork | None
    skipped: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return an element of ``targets`` in frontier.json."""
        network, nearest = self.network, self.nearest
        return {
            "targets": [target.text for target in self.targets],
            "protocol": self.protocol,
            "network": None if network is None else network.name,
            "job": None if network is None else network.job,
            "validation_accuracy": None if network is None else network.validation_accuracy,
            "values": [
                {
                    "target": kept.target.text,
                    "bound": kept.target.bound,
                    "predicted": kept.predicted,
                    "measured": kept.measured,
                    "holds": kept.holds,
                }
                for kept in self.kept
            ],
            "nearest": None
            if nearest is None
            else {
                "network": nearest.network.name,
                "validation_accuracy": nearest.network.validation_accuracy,
                "predicted": list(nearest.values),
                "excess": nearest.excess(self.targets),
            },
            "skipped": [{"name": name, "error": error} for name, error in self.skipped],
        }


def pick(
    directory: Path,
    targets: Sequence[Target],
    options: BenchOptions | None = None,
    observer: FrontierObserver | None = None,
    data: DataLike | None = None,
) -> Pick:
    """Return the network of a finished search that keeps ``targets``, measured and written into frontier.json.

    Validation accuracy decides among those whose predicted values fit. ``data`` is the search's, where it cannot be
    loaded by its name. Raises `DeepReduceError` where the folder cannot
    be used, or the chosen network cannot be run.
    """
    options, observer = options or BenchOptions(), observer or FrontierObserver()
    targets = tuple(replace(target, network=network_name(target.network)) for target in targets)
    with hold(directory / "lock", str(directory), patience_s=2.0):
        frontier = Frontier.load(directory)
        choice = _choose(frontier, targets, options, observer, Exporter(frontier, data))
    found = None if choice.chosen is None else choice.chosen.network
    kept = () if choice.chosen is None else _kept(directory, choice.chosen, targets, options, observer, data)
    result = Pick(targets, options.protocol, found, kept, choice.nearest, choice.skipped)
    with hold(directory / "lock", str(directory), patience_s=2.0):
        _write(directory, result)
    return result


def _choose(
    frontier: Frontier, targets: Sequence[Target], options: BenchOptions, observer: FrontierObserver, exporter: Exporter
) -> Choice:
    """Choose by predicted values; of a network trained with and without distillation the one that its name means
    counts.
    """
    plain = all(target.quantity == "relus" for target in targets)

    def values(network: TrainedNetwork) -> list[float]:
        if plain:
            return [float(network.relus)] * len(targets)
        observer.progress(f"{network.name}: export and predict", 0, 1)
        plan = exporter.plan(network).plan
        return [predicted(network, plan, target, options) for target in targets]

    return choose((n for n in frontier.networks if frontier[n.name].job == n.job), targets, values)


def predicted(network: TrainedNetwork, plan: Plan, target: Target, options: BenchOptions) -> float:
    """Return a target's quantity for a plan, in its unit: ReLUs, seconds or bytes."""
    if target.quantity == "relus":
        return float(network.relus)
    plan, protocol = replace(options, network=target.network).settled(plan)
    prediction = predict(plan, protocol, options.batch)
    if target.quantity == "traffic":
        offline, online = prediction.total.offline, prediction.total.online
        return float(offline.up_bytes + offline.down_bytes + online.up_bytes + online.down_bytes)
    seconds = run_seconds(plan, protocol, options.batch, link=parse_link(target.network), prediction=prediction)
    return float(getattr(seconds, target.quantity))


def measured(summary: RunSummary, target: Target) -> float:
    """Return the same from a measurement."""
    match target.quantity:
        case "relus":
            return float(summary.relus)
        case "traffic":
            return float(summary.online_bytes + summary.offline_bytes)
        case "online":
            return summary.online_s
        case "offline":
            return summary.offline_s
        case _:
            return summary.online_s + summary.offline_s


def _kept(
    directory: Path,
    chosen: PredictedNetwork,
    targets: Sequence[Target],
    options: BenchOptions,
    observer: FrontierObserver,
    data: DataLike | None,
) -> tuple[Kept, ...]:
    names = list(dict.fromkeys(target.network for target in targets))
    outcome = measure_frontier(directory, options, names, [chosen.network.name], observer=observer, data=data)
    if outcome.failed:
        raise PointError(f"{chosen.network.name!r} fits, but cannot be measured: {outcome.failed[0].error}")
    summaries = {done.key.partition("@")[2]: done.summary for done in outcome.measured}
    return tuple(
        Kept(target, value, measured(summaries[target.network], target))
        for target, value in zip(targets, chosen.values, strict=True)
    )


def _write(directory: Path, result: Pick) -> None:
    content = read_json(directory / FILE, KEYS)
    texts = {target.text for target in result.targets}
    others = [record for record in content.get("targets", []) if set(record["targets"]) != texts]
    content["targets"] = [*others, result.to_json()]
    write_json(directory / FILE, content)
