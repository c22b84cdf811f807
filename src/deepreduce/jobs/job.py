"""Work of a worker process: train one job, or read one finished network's test accuracy."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..data.dataset import Dataset
from ..data.snapshot import restore
from ..errors import ModelError, SettingError, StoreError, TrainingError
from ..files import write_json
from ..networks.features import with_features
from ..networks.network import Network
from ..networks.source import ModelSource
from ..processor import processor_name
from ..reduce.annealing import anneal_to
from ..reduce.build import reduce_to
from ..reduce.elements.pruning import removal
from ..reduce.prune_channels import prune_channels
from ..reduce.reshape import copy_matching_weights
from ..reduce.warm_start import copy_weights
from ..train.annealing import Annealing
from ..train.augment import Normalizer
from ..train.evaluate import accuracy, class_errors, confusion_matrix
from ..train.fit import Epoch, autocast, fit
from ..train.gradual import Gradual
from .spec import JobSpec, network_digest
from .store import JobStore

OnEpoch = Callable[[str, Epoch], None]


@dataclass(frozen=True)
class Origin:
    """Origin of a job's network."""

    spec: JobSpec
    source: ModelSource


@dataclass(frozen=True)
class Job:
    """A training or, with ``test``, the reading of its result's test accuracy and of its errors by class (of the
    validation split); small enough to send to a worker.

    ``needs`` are the origins of the jobs whose weights it reads (`JobSpec.needs`). With ``watch_test`` a training notes
    the test accuracy after each epoch.
    """

    spec: JobSpec
    source: ModelSource
    store: Path
    snapshot: Path
    needs: tuple[Origin, ...] = ()
    test: bool = False
    watch_test: bool = False


def perform(job: Job, device: str, on_epoch: OnEpoch) -> None:
    """Do ``job`` unless it is already done, on ``device``; ``on_epoch`` hears (digest, record) after each epoch.

    Raises `TrainingError` when the loss diverges or memory runs out. A finished job and its checkpoint survive a kill
    at any moment.
    """
    store = JobStore(job.store)
    with store.lock(job.spec.digest):
        try:
            if job.test:
                _test(job, store, torch.device(device))
            elif not store.is_done(job.spec.digest):
                _train(job, store, torch.device(device), on_epoch)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise TrainingError("out of memory", "lower the batch size, or run fewer jobs at once") from error


def _train(job: Job, store: JobStore, device: torch.device, on_epoch: OnEpoch) -> None:
    spec = job.spec
    write_json(store.folder(spec.digest) / "spec.json", spec.to_json())
    data = _dataset(job)
    started = time.perf_counter()
    network = build(job.source, spec, data, store)
    others = {origin.spec.digest: _finished(origin, store, data) for origin in job.needs}
    start = spec.start or (spec.teacher if spec.recipe.warm_start else None)
    origin = None if start is None else others[start]
    if origin is not None and spec.prune is None:  # pruned networks begin with what is left of it
        copy_weights(origin, network)
    trained, gradual = _annealed(job, network, data, origin)
    result = fit(
        trained,
        data,
        spec.recipe,
        seed=spec.seed,
        device=device,
        teacher=others.get(spec.teacher) if spec.teacher is not None else None,
        gradual=[*gradual, *_removal(spec, network)],
        tap=with_features,
        checkpoint=store.checkpoint(spec.digest),
        watched=data.test if job.watch_test else None,
        on_epoch=lambda record: on_epoch(spec.digest, record),
    )
    metrics = {
        "format": 1,
        "validation_accuracy": result.validation_accuracy,
        "best_epoch": result.best_epoch,
        "seconds": sum(record.seconds for record in result.history),
        "last_run_seconds": time.perf_counter() - started,
        "history": [asdict(record) for record in result.history],
        **surroundings(device),
    }
    store.finish(spec.digest, result.weights, metrics)


def adopt(spec: JobSpec, network: Network, data: Dataset, store: JobStore, device: torch.device) -> float:
    """Store ``network``, trained elsewhere, as the result of ``spec``, unless it is there; return its validation
    accuracy in percent.
    """
    if not store.is_done(spec.digest):
        started = time.perf_counter()
        write_json(store.folder(spec.digest) / "spec.json", spec.to_json())
        normalize = _placed(network, data, spec, device)
        with autocast(device, spec.recipe):
            score = accuracy(network, data.validation.to(device), normalize)
        metrics = {
            "format": 1,
            "validation_accuracy": score,
            "best_epoch": 0,
            "seconds": 0.0,
            "last_run_seconds": time.perf_counter() - started,
            "history": [],
            **surroundings(device),
        }
        weights = {name: tensor.cpu().clone() for name, tensor in network.state_dict().items()}  # tied ones, too, apart
        store.finish(spec.digest, weights, metrics)
    return float(store.metrics(spec.digest)["validation_accuracy"])


def _annealed(job: Job, network: Network, data: Dataset, origin: Network | None) -> tuple[Network, list[Gradual]]:
    """Return what is trained for ``network``: its form with fading ReLUs where the recipe has it and some are removed.

    Those that ``origin``, whose weights it begins with, lacks are not brought back: its weights know nothing of them.
    """
    present = {site.name for site in network.layout.sites} if origin is None else set(origin.relu_nodes())
    if not job.spec.recipe.anneal or present <= network.relu_nodes().keys():
        return network, []
    with torch.random.fork_rng(devices=[]):
        full = _unreduced(job.source, job.spec, data)
        fading, fade = anneal_to(full, job.spec.point, front_padding=job.spec.front_padding, present=present)
    fading.load_state_dict(network.state_dict())
    return fading, [Annealing(fade, job.spec.recipe.anneal)]


def _removal(spec: JobSpec, network: Network) -> list[Gradual]:
    """Return what removes single elements, where the point says how many are left."""
    budget = network.point.relus
    if (spec.elements is None) != (budget is None):
        raise SettingError(f"{spec.point} and elements={spec.elements} do not agree", "give both or none of them")
    return [] if spec.elements is None or budget is None else [removal(spec.elements, budget)]


def _finished(origin: Origin, store: JobStore, data: Dataset) -> Network:
    """Return the network of another job with its trained weights."""
    network = build(origin.source, origin.spec, data, store)
    network.load_state_dict(store.weights(origin.spec.digest))
    return network


def _test(job: Job, store: JobStore, device: torch.device) -> None:
    path = store.folder(job.spec.digest) / "test.json"
    if path.is_file():
        return
    data = _dataset(job)
    network = build(job.source, job.spec, data, store)
    network.load_state_dict(store.weights(job.spec.digest))
    normalize = _placed(network, data, job.spec, device)
    with autocast(device, job.spec.recipe):
        score = accuracy(network, data.test.to(device), normalize)
        confusion = confusion_matrix(network, data.validation.to(device), normalize, len(data.classes))
    classes = class_errors(confusion)  # of the split that networks are chosen by, not the one that is read once
    write_json(path, {"format": 1, "test_accuracy": score, "images": len(data.test), "validation_classes": classes})


def _placed(network: Network, data: Dataset, spec: JobSpec, device: torch.device) -> Normalizer:
    """Move ``network`` to ``device`` to be evaluated there; return what normalizes the images of ``data`` for it."""
    layout = torch.channels_last if spec.recipe.channels_last else torch.contiguous_format
    network.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # torch leaves this form out
    return Normalizer(data.mean, data.std, device, spec.recipe.channels_last)


def build(source: ModelSource, spec: JobSpec, data: Dataset, store: JobStore | None = None) -> Network:
    """Return the network of ``spec`` with its initial weights: seeded, whatever was drawn before.

    One that is pruned follows from the weights that it starts with, which are in ``store``.
    """
    full = _unreduced(source, spec, data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        network = reduce_to(full, spec.point, front_padding=spec.front_padding)
    if spec.prune is None:
        return network
    if spec.start is None or store is None:
        raise SettingError("a network is pruned by the weights of another training", "give its start")
    copy_matching_weights(store.weights(spec.start), network)
    return prune_channels(network, spec.prune)


def _unreduced(source: ModelSource, spec: JobSpec, data: Dataset) -> Network:
    network = source.build(data.input_shape, len(data.classes), spec.seed)
    if network_digest(network) != spec.network:
        raise ModelError(
            f"{source.name} is not the network that this search began with",
            "its source was changed meanwhile, or its factory draws random numbers that torch.manual_seed does not fix",
        )
    return network


def surroundings(device: torch.device) -> dict[str, Any]:
    """Return what a result depends on besides its specification."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    return {
        "device": device.type,
        "hardware": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _dataset(job: Job) -> Dataset:
    return _restored(job.snapshot, job.spec.data)


@lru_cache(maxsize=1)
def _restored(snapshot: Path, digest: str) -> Dataset:
    data = restore(snapshot)
    if data.digest != digest:
        raise StoreError(f"{snapshot} holds other data than this job's", "run the search again")
    return data
