"""The method, end to end (paper, section 3.5 and Figure 4): teacher, profiling, criticality, candidates, frontier."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ..data import DataLike, Dataset, as_dataset
from ..errors import SettingError
from ..files import write_json
from ..jobs.executors import Executor, InlineExecutor, ProcessExecutor, devices
from ..jobs.job import adopt, surroundings
from ..jobs.observer import JobObserver
from ..jobs.workspace import Workspace, save_data
from ..networks.counting import count
from ..networks.network import Network
from ..networks.source import ModelLike, ModelSource
from ..networks.weights import WeightsLike, load_weights, weights_digest, weights_name
from ..reduce.elements.settings import Linearize
from ..train.recipe import Recipe, make_recipe, teacher_recipe_of
from ..version import __version__
from .budgets import Budgets, bests, kind_of, parse_budgets, refine
from .candidates import profiling_points, unthinnable
from .compute import ComputeBudget, check_compute_budget
from .config import DEFAULTS, SearchConfig
from .criticality import EXPONENT, check_exponent
from .frontier import FILE, PROGRESS, Frontier, TrainedNetwork, keep_measurements, pareto, to_records
from .hypervolume import hypervolume, reference_of
from .planner import Trainings
from .private_check import check_private, kinds_without_plan
from .strategies.full import search_in_full
from .strategies.profiling import Row, order_of
from .strategies.quarter import Rung, full_work, quarter_budget, search_a_quarter

NEAR_CHANCE = 1.5  # times chance: given weights that answer no better are likely misused


def find_frontier(
    model: ModelLike,
    data: DataLike,
    *,
    out: str | Path | None = None,
    width: float = 1.0,
    stages: Mapping[str, str] | None = None,
    recipe: str | Recipe = "paper",
    teacher_recipe: str | Recipe | None = None,
    seed: int = 0,
    alpha: float = 0.5,
    rho: float = 0.5,
    exponent: float = EXPONENT,
    front_padding: bool = True,
    compute_budget: ComputeBudget = "full",
    budgets: str | Sequence[int | str] = (),
    elements: Linearize | None = None,
    weights: WeightsLike | None = None,
    private: bool = True,
    jobs: int = 1,
    device: str = "auto",
    executor: Executor | None = None,
    observer: JobObserver | None = None,
    command: str = "",
) -> Frontier:
    """Search the ReLU-reduced networks of ``model`` on ``data`` and return their Pareto frontier.

    ``model`` is a built-in name, ``file.py:factory``, a factory or a module; ``data`` a name, a `Dataset`, a
    torch data set or loader of (image, label), or such of each split by name (`deepreduce.data.as_dataset`). ``out`` is
    the search's folder (default: a new temporary one): the same call with the same ``out`` goes on where an earlier one
    stopped. ``recipe`` trains every network alike, or all but the teacher, which ``teacher_recipe`` trains (if it is
    None: ``strong-teacher`` where the recipe is ``strong``); ``alpha``, ``rho`` and the criticality ``exponent`` are
    the paper's. With ``front_padding`` the zero padding of reduced networks moves to the front of each linear segment,
    so that exporting can merge these exactly; without it every layer pads for itself, as in the paper, and segments
    merge only partly or not at all. ``compute_budget``: ``full`` trains every network by the whole recipe; ``quarter``
    looks for the same frontier within a quarter of that work (`deepreduce.search.strategies.quarter`). For every number
    of ReLUs in ``budgets`` (``(50_000, 25_000)`` or ``"50k,25k"``) single elements are then removed, as ``elements``
    says, from the whole network and from one that was found.

    ``weights`` (a state dict or a file of one) are those of the full network as it was trained elsewhere: it is the
    teacher as it is. Give its normalization with the data, ``load("folder:images").normalized(*IMAGENET)``.

    Before anything is trained the search makes sure that a plan can hold the network, and each kind of candidate (those
    that none can hold are left out, with a notice): with ``private`` False it trains whatever can be made.

    ``jobs`` networks are trained at once: 1 in this process, more in worker processes, for which a script
    needs ``if __name__ == "__main__":`` around the call, and the model must be a name or an object that can be pickled.

    Each network's weights are those of its best validation epoch; validation accuracy decides the frontier; the test
    split is read once, for the frontier and the teacher, at the end. Raises `DeepReduceError` subclasses on bad input.
    """
    source = ModelSource(model, width, stages)
    if isinstance(recipe, str):
        recipe = make_recipe(recipe)
    if isinstance(teacher_recipe, str):
        teacher_recipe = make_recipe(teacher_recipe)
    teacher_recipe = teacher_recipe or teacher_recipe_of(recipe)
    if not 0 < alpha <= 1 or not 0 < rho <= 1:
        raise SettingError(f"alpha {alpha:g} and rho {rho:g} must be in (0, 1]", "the paper's are 0.5")
    dataset = as_dataset(data, seed=seed)
    observer = observer or JobObserver()
    for text in dataset.notices:
        observer.notice(text)
    full = source.build(dataset.input_shape, len(dataset.classes), seed)
    wanted = Budgets(parse_budgets(budgets), elements or Linearize())
    given = None if weights is None else _with_weights(source, dataset, seed, weights)
    method = SearchConfig(
        source,
        full,
        dataset,
        recipe,
        teacher_recipe,
        seed,
        alpha,
        rho,
        exponent,
        front_padding,
        compute_budget,
        None if given is None else weights_digest(given),
    )
    profiling_points(full.layout)  # refuses D = 1 before anything is written
    check_exponent(exponent)
    check_compute_budget(compute_budget)
    if private:
        check_private(full)
    space = Workspace(Path(out) if out else Path(tempfile.mkdtemp(prefix="deepreduce-")))
    own: Executor | None = None
    if executor is None:
        executor = own = InlineExecutor(device) if jobs == 1 else ProcessExecutor(jobs, device)
    try:
        with space.claim(method.identity(), DEFAULTS):
            save_data(dataset, space.snapshot)
            notices = list(full.notices)
            if given is not None and weights is not None:
                notices += _adopt_teacher(method, given, space, device, weights_name(weights))
            left_out = kinds_without_plan(full, alpha, rho, front_padding) if private else {}
            notices += [
                f"{step} candidates are left out, no plan can hold them: {why}" for step, why in left_out.items()
            ]
            search = _Search(method, space, executor, observer, command, wanted, left_out.keys())
            frontier = search.run(notices)
            space.drop_data()
            return frontier
    finally:
        if own is not None:
            own.close()


def _with_weights(source: ModelSource, data: Dataset, seed: int, weights: WeightsLike) -> Network:
    network = source.build(data.input_shape, len(data.classes), seed)
    load_weights(network, weights)
    return network.eval()


def _adopt_teacher(method: SearchConfig, network: Network, space: Workspace, device: str, name: str) -> list[str]:
    """Store the teacher that was trained elsewhere as the job that would train it; return what the user must know."""
    try:
        on = devices(device)[0]
    except SettingError:  # a device that only workers elsewhere have
        on = "cpu"
    score = adopt(method.spec(method.full.point, None), network, method.data, space.store, torch.device(on))
    notices = [f"the full network is not trained: it has the weights of {name}, validation accuracy {score:.2f} %"]
    if score < NEAR_CHANCE * 100 / len(method.data.classes):
        notices.append("that is little more than chance: were the same normalization and order of classes trained on?")
    return notices


class _Search:
    """One run of the method: trainings, within the compute budget, and what is kept of them."""

    def __init__(
        self,
        method: SearchConfig,
        space: Workspace,
        executor: Executor,
        observer: JobObserver,
        command: str,
        budgets: Budgets,
        left_out: Collection[str],
    ) -> None:
        self.method = method
        self.budgets = budgets
        self.space = space
        self.observer = observer
        self.command = command
        self.trainings = Trainings(method, space, executor, observer, left_out)
        self.profile = count(method.full).to_json()

    def run(self, notices: Iterable[str]) -> Frontier:
        self.trainings.runner.on_ended = self._record_progress
        if not (self.space.root / PROGRESS).exists():  # else it says more: jobs that are done are planned step by step
            self._record_progress()
        layout = self.method.full.layout
        for text in notices:
            self.trainings.notice(text)
        for stage in unthinnable(layout):
            self.trainings.notice(f"stage {stage} has a single ReLU layer and cannot be thinned: it stays whole")
        rungs: list[Rung] = []
        if self.method.compute_budget == "quarter":
            table, rungs = search_a_quarter(self.trainings)
        else:
            table = search_in_full(self.trainings)
        self.trainings.expect(len(self.trainings.entries))
        if self.budgets.relus:
            refine(self.trainings, self.budgets)

        networks = pareto(self.trainings.outcomes())
        rows = bests(self.budgets.relus, networks)
        self.observer.phase("test accuracy of the frontier")
        compared = {job for row in rows for job in row.values()}
        tested = [n for n in networks if n.on_frontier or n.role == "teacher" or n.job in compared]
        entries = self.trainings.entries
        self.trainings.runner.run(replace(self.trainings.job(entries[n.job]), test=True) for n in tested)
        networks = [replace(n, test_accuracy=self.space.store.test_accuracy(n.job)) for n in networks]
        content = self._content(table, rungs, networks)
        if rows:
            content["settings"]["elements"] = asdict(self.budgets.elements)
            content["budgets"] = rows
        keep_measurements(content, self.space.root / FILE)
        write_json(self.space.root / FILE, content)
        (self.space.root / PROGRESS).unlink(missing_ok=True)
        return Frontier(self.space.root, content, self.method.source)

    def _content(self, table: list[Row], rungs: list[Rung], networks: list[TrainedNetwork]) -> dict[str, Any]:
        teacher = next(n for n in networks if n.role == "teacher")
        return {
            **self._known(networks),
            "finished": True,
            "criticality": table,
            "effort": self._compute_spent(table, rungs, teacher.job),
            "hypervolume": _hypervolume(networks, teacher, len(self.method.data.classes)),
        }

    def _record_progress(self) -> None:
        """Write what is there before the search is finished, for the report."""
        networks = pareto(self.trainings.outcomes())
        done = sum(map(self.space.store.is_done, self.trainings.entries))
        progress = {"done": done, "trainings": max(self.trainings.expected, len(self.trainings.entries))}
        content = {**self._known(networks), "finished": False, "criticality": [], "progress": progress}
        write_json(self.space.root / PROGRESS, content)

    def _known(self, networks: list[TrainedNetwork]) -> dict[str, Any]:
        """Return what ``frontier.json`` has of a search at any time."""
        data = self.method.data
        trained_on = self.space.store.metrics(networks[0].job) if networks else surroundings(torch.device("cpu"))
        return {
            "format": 1,
            "deepreduce": __version__,
            "command": self.command,
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "settings": self.method.settings(),
            "versions": {k: trained_on[k] for k in surroundings(torch.device("cpu"))},
            "data": {
                "name": data.name,
                "digest": data.digest,
                "train": len(data.train),
                "validation": len(data.validation),
                "validation_share": data.validation_share,
                "test": len(data.test),
                "classes": list(data.classes),
                "images_per_class": {split: list(counts) for split, counts in data.images_per_class.items()},
                "input_shape": list(data.input_shape),
                "mean": list(data.mean),
                "std": list(data.std),
                "notices": [*data.notices, *self.trainings.notices],
            },
            "profile": self.profile,
            "networks": to_records(networks),
            "failed": self.trainings.failures(),
        }

    def _compute_spent(self, table: list[Row], rungs: list[Rung], teacher: str) -> dict[str, Any]:
        entry, order = self.trainings.entries[teacher], order_of(table)
        budget = full = full_work(self.trainings, entry, order)
        if self.method.compute_budget == "quarter":
            budget = quarter_budget(self.trainings, entry, order)
        spending = self.trainings.spending(full, budget)
        return {**spending.to_json(), "rungs": [rung.to_json(self.trainings) for rung in rungs]}


def _hypervolume(networks: Sequence[TrainedNetwork], teacher: TrainedNetwork, classes: int) -> dict[str, Any]:
    """Return the frontier's hypervolume by validation accuracy, and the reference point that it is measured from.

    Like the count beside it without what came of removing single elements.
    """
    points = [(n.relus, n.validation_accuracy) for n in networks if kind_of(n) == "coarse"]
    reference = reference_of(points, teacher.relus, classes)
    return {"value": hypervolume(points, reference), "reference": asdict(reference)}
