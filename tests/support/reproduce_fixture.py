"""Records with made-up accuracies: what a reproduction would have, measured by nobody."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deepreduce.data.cifar import CIFAR100
from deepreduce.reproduce.comparison import Lookup
from deepreduce.reproduce.records import Record
from deepreduce.reproduce.training import Training

RELUS = {"S1": 16384, "S2": 8192, "S3": 4096, "S4": 2048}


def record(training: Training, seed: int, accuracy: float) -> Record:
    return Record(
        digest=f"{training} of {training.teacher} {seed}",
        scale="small",
        network=training.network,
        point=training.point,
        data=training.data,
        seed=seed,
        settings=dict(training.settings),
        teacher=None,
        start=None,
        relus=RELUS.get(training.point, 1000),
        params=1,
        macs=1,
        validation_accuracy=accuracy - 1,
        test_accuracy=accuracy,
        best_test=None,
        best_epoch=1,
        epochs=2,
        seconds=60.0,
        hardware="a machine",
        device="cpu",
        threads=1,
        torch="2.13.0",
        deepreduce="0.1.0",
    )


def noise(text: str, seed: int) -> float:
    """The same every time, about a tenth of a point."""
    return random.Random(f"{text} {seed}").gauss(0, 0.1)


def lookup_of(accuracy: Callable[[Training], float | None], seeds: int = 5) -> Lookup:
    """Every training has ``accuracy`` but for a little noise, or no record where it is None."""

    def find(training: Training, seed: int) -> Record | None:
        value = accuracy(training)
        if value is None or seed >= seeds:
            return None
        return record(training, seed, value + 2 * noise("seed", seed) + noise(str(training), seed))

    return find


def write_cifar100(root: Path, per_class: int = 2) -> None:
    """Random images in the official form: enough to load, count and hash."""
    folder = root / CIFAR100.folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in (*CIFAR100.train_files, CIFAR100.test_file):
        rows = rng.integers(0, 256, (100 * per_class, CIFAR100.record_bytes), dtype=np.uint8)
        rows[:, 0] = 0
        rows[:, 1] = np.arange(len(rows)) % 100
        rows.tofile(folder / name)
    (folder / CIFAR100.names_file).write_text("".join(f"name{label}\n" for label in range(100)))
