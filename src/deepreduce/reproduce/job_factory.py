"""Job factory: makes jobs of trainings; data are loaded, networks hashed and specifications made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..data import load
from ..data.dataset import Dataset
from ..errors import DataError
from ..jobs.job import Job, Origin, build
from ..jobs.spec import JobSpec, network_digest
from ..jobs.store import JobStore
from ..jobs.workspace import save_data
from ..networks.counting import NetworkCost, count
from ..networks.network import Network
from ..networks.point import parse_point
from ..networks.source import ModelSource
from ..reduce.build import reduce_to
from ..train.recipe import Recipe, make_recipe
from .scale import Scale
from .training import Training

SPLIT_SEED = 0  # one validation split for all seeds: these vary weights, order and augmentation

#: What the paper's data sets are like, so that networks can be counted where their images are not.
SHAPES: Mapping[str, tuple[tuple[int, int, int], int]] = {
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
    "tinyimagenet": ((3, 64, 64), 200),
}


class JobFactory:
    """Jobs of one ``scale`` below ``root``: ``jobs/`` and a snapshot of each data set.

    With ``digests`` (by data set, of its content at this scale) specifications are made without the images, which is
    enough to read records; a data set that is not among them raises `DataError` then.
    """

    def __init__(self, scale: Scale, root: Path, digests: Mapping[str, str] | None = None) -> None:
        self.scale = scale
        self.root = root
        self._digests = digests
        self.store = JobStore(root / "jobs")
        self._data = cache(self._load)
        self._network = cache(self._build)
        self._digest = cache(lambda name, data, seed: network_digest(self._network(name, data, seed)))
        self._cost = cache(self._count)
        self._snapshot = cache(self._save)
        self.spec = cache(self._spec)

    def source(self, training: Training) -> ModelSource:
        """Return what the unreduced network is built from."""
        return ModelSource(training.network, self.scale.width)

    def teacher(self, training: Training) -> Training | None:
        """Return what it is distilled from, trained for as long as the scale has its teachers trained."""
        taught, epochs = training.teacher, self.scale.teacher_epochs
        if taught is None or epochs is None:
            return taught
        others = (pair for pair in taught.settings if pair[0] != "epochs")
        return replace(taught, settings=(*others, ("epochs", epochs)))

    def start(self, training: Training) -> Training | None:
        """Return what it begins with the weights of; if that is its teacher, the teacher as it distills."""
        return self.teacher(training) if training.start == training.teacher else training.start

    def needs(self, training: Training) -> tuple[Training, ...]:
        """Return the trainings whose weights it reads."""
        return tuple(dict.fromkeys(t for t in (self.teacher(training), self.start(training)) if t is not None))

    def recipe(self, training: Training) -> Recipe:
        """Return the scale's recipe, or the named one for as many epochs and as precise, with the training's
        changes.
        """
        base = self.scale.recipe
        if training.recipe is not None:
            same = {name: getattr(base, name) for name in ("epochs", "batch_size", "precision")}
            base = replace(make_recipe(training.recipe), **same)
        return replace(base, **dict(training.settings)) if training.settings else base  # type: ignore[arg-type]  # by name

    def point(self, training: Training) -> str:
        """Return its point at this scale, in full: a number of ReLUs shrinks as the network's own."""
        layout = self._network(training.network, training.data, 0).layout
        point = parse_point(training.point, layout.stages)
        if training.relus is not None:
            point = replace(point, relus=round(training.relus * self.scale.width / self.scale.shrink**2))
        return str(point)

    def job(self, training: Training, seed: int, test: bool = False, watch_test: bool = False) -> Job:
        """Return the job of ``training`` at ``seed``, or the reading of its test accuracy."""
        needs = tuple(Origin(self.spec(need, seed), self.source(need)) for need in self.needs(training))
        spec = self.spec(training, seed)
        return Job(spec, self.source(training), self.store.root, self._snapshot(training.data), needs, test, watch_test)

    def cost(self, training: Training) -> NetworkCost:
        """ReLUs, parameters and MACs of one image; of a pruned network as it was before (see `trained_cost`)."""
        return self._cost(training.network, training.data, self.point(training), training.front_padding)

    def trained_cost(self, training: Training, seed: int) -> NetworkCost:
        """Return the cost of a finished training's network, counted in what was really trained."""
        if training.prune is None:
            return self.cost(training)
        source, spec = self.source(training), self.spec(training, seed)
        return count(build(source, spec, self.data(training.data), self.store)).total

    def data(self, name: str) -> Dataset:
        """Return the data set at this scale."""
        return self._data(name)

    def data_digest(self, name: str) -> str:
        """Return the digest of the data set at this scale. Raises `DataError` where it is neither known nor to
        be had.
        """
        if self._digests is None:
            return self._data(name).digest
        if name not in self._digests:
            raise DataError(f"no results at scale {self.scale.name} name the content of {name}")
        return self._digests[name]

    def shape(self, name: str) -> tuple[tuple[int, int, int], int]:
        """(c, h, w) of the data set's images at this scale, and its classes."""
        if name not in SHAPES:
            return self._data(name).input_shape, len(self._data(name).classes)
        (channels, height, width), classes = SHAPES[name]
        return (channels, height // self.scale.shrink, width // self.scale.shrink), classes

    def _load(self, name: str) -> Dataset:
        if name not in SHAPES:
            return load(name, seed=SPLIT_SEED)
        (_, height, width), classes = self.shape(name)
        dataset = load(name, seed=SPLIT_SEED, image_size=(height, width))
        if len(dataset.classes) != classes:
            raise DataError(
                f"{name} has {len(dataset.classes)} classes here, {classes} are needed", "get the whole set"
            )
        return dataset

    def _save(self, name: str) -> Path:
        path = self.root / f"{name}.safetensors"
        save_data(self._data(name), path)
        return path

    def _build(self, network: str, data: str, seed: int) -> Network:
        shape, classes = self.shape(data)
        return ModelSource(network, self.scale.width).build(shape, classes, seed)

    def _count(self, network: str, data: str, point: str, front_padding: bool) -> NetworkCost:
        reduced = reduce_to(self._network(network, data, 0), point, front_padding=front_padding)
        cost, budget = count(reduced).total, reduced.point.relus
        return cost if budget is None else replace(cost, relus=budget)  # before training all elements are there

    def _spec(self, training: Training, seed: int) -> JobSpec:
        teacher, start = (
            None if need is None else self.spec(need, seed).digest
            for need in (self.teacher(training), self.start(training))
        )
        network = self._digest(training.network, training.data, seed)
        point = self.point(training)
        data, recipe = self.data_digest(training.data), self.recipe(training)
        return JobSpec(
            network,
            training.network,
            point,
            data,
            recipe,
            seed,
            teacher,
            start,
            front_padding=training.front_padding,
            prune=training.prune,
            elements=training.elements,
        )
