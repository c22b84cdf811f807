"""A search folder of 24 networks with made-up numbers: fixture data for the report's tests, measured by nobody.

The ReLU counts are those of a ResNet10 on 32x32 images; every accuracy, time and curve below is invented.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from pathlib import Path
from typing import Any

Json = dict[str, Any]

STAGES: Json = {
    "stem": {"relus": 65536, "params": 1856, "macs": 1769472},
    "S1": {"relus": 131072, "params": 73984, "macs": 75497472},
    "S2": {"relus": 65536, "params": 230144, "macs": 58720256},
    "S3": {"relus": 32768, "params": 919040, "macs": 58720256},
    "S4": {"relus": 16384, "params": 3673088, "macs": 58720256},
    "head": {"relus": 0, "params": 5130, "macs": 5120},
}

# (name, step, ReLUs, validation, test, on the frontier); invented accuracies.
_CANDIDATES: tuple[tuple[str, str, int, float, float, bool], ...] = (
    ("S2+S3+S4", "culled", 114688, 97.21, 96.67, True),
    ("S2^RT+S3^RT+S4^RT", "thinned", 57344, 96.66, 96.39, True),
    ("S2^RT+S3^RT+S4^RT, alpha=0.5", "channels", 28672, 95.82, 95.0, False),
    ("S2^RT+S3^RT+S4^RT, rho=0.5", "resolution", 14336, 92.2, 91.11, False),
    ("S2^RT+S3^RT+S4^RT, alpha=0.5, rho=0.5", "both", 7168, 89.69, 88.33, False),
    ("S2+S3", "culled", 98304, 96.94, 96.67, True),
    ("S2^RT+S3^RT", "thinned", 49152, 96.38, 95.83, True),
    ("S2^RT+S3^RT, alpha=0.5", "channels", 24576, 95.54, 95.28, True),
    ("S2^RT+S3^RT, rho=0.5", "resolution", 12288, 93.04, 92.5, False),
    ("S2^RT+S3^RT, alpha=0.5, rho=0.5", "both", 6144, 90.81, 89.17, True),
    ("S3", "culled", 32768, 96.1, 95.56, True),
    ("S3^RT", "thinned", 16384, 94.43, 94.17, True),
    ("S3^RT, alpha=0.5", "channels", 8192, 93.04, 92.22, True),
    ("S3^RT, rho=0.5", "resolution", 4096, 88.86, 88.06, True),
    ("S3^RT, alpha=0.5, rho=0.5", "both", 2048, 84.12, 83.33, True),
)

# (stage, ReLUs, accuracy without KD, with KD, C_k) in culling order; invented accuracies.
_CRITICALITY: tuple[tuple[str, int, float, float, float], ...] = (
    ("S1", 131072, 88.3, 89.97, 0.0),
    ("S4", 16384, 90.25, 91.36, 1.14),
    ("S2", 65536, 93.59, 94.71, 3.54),
    ("S3", 32768, 94.99, 96.1, 4.8),
)


def digest(*parts: object) -> str:
    """A made-up job digest."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def frontier() -> Json:
    """The content of a finished ``frontier.json``."""
    return {
        "format": 1,
        "deepreduce": "0.1.0",
        "command": "deepreduce search resnet10 --data digits --epochs 30 --seed 0 --out runs/digits",
        "created": "2026-11-22T08:00:00Z",
        "finished": True,
        "settings": {
            "model": "resnet10",
            "width": 64,
            "data": "digits",
            "recipe": {"epochs": 30, "batch": 128, "learning_rate": 0.1, "milestones": [15, 25], "kd_weight": 0.9},
            "seed": 0,
            "criticality_exponent": 0.07,
            "alpha": 0.5,
            "rho": 0.5,
        },
        "versions": {"python": "3.11.7", "torch": "2.9.0", "numpy": "2.4.6", "device": "cpu", "threads": 1},
        "data": {
            "name": "digits",
            "digest": digest("digits"),
            "train": 1078,
            "validation": 359,
            "test": 360,
            "classes": [str(i) for i in range(10)],
            "input_shape": [3, 32, 32],
            "notices": [],
        },
        "profile": profile(),
        "criticality": [
            {"stage": s, "relus": r, "accuracy_without_kd": a, "accuracy_with_kd": b, "criticality": c}
            for s, r, a, b, c in _CRITICALITY
        ],
        "networks": _networks(),
        "failed": [],
        "effort": {
            "name": "quarter",
            "full_macs": 8_000_000_000_000,
            "budget_macs": 2_000_000_000_000,
            "planned_macs": 1_996_000_000_000,
            "spent_macs": 1_996_000_000_000,
            "seconds": 4210.5,
            "spent_share": 0.2495,
            "rungs": [],
        },
        "hypervolume": {
            "value": 151.234,
            "reference": {"relus": 311296, "accuracy": 10.0, "origin": "chance"},
        },
    }


KEYS = ("ot@none", "ot@lan")


def cifar100_frontier(reduced: bool = False) -> Json:
    """The same as if it were on CIFAR-100, twenty points less accurate; or ``reduced`` in width and images."""
    content = frontier()
    content["data"] |= {"name": "cifar100", "train": 45_000, "validation": 5_000, "test": 10_000}
    content["data"]["classes"] = [f"class {i}" for i in range(100)]
    content["settings"] |= {"width": 0.25 if reduced else 1.0, "data": "cifar100"}
    content["data"]["input_shape"] = [3, 16, 16] if reduced else [3, 32, 32]
    for network in content["networks"]:
        for split in ("validation_accuracy", "test_accuracy"):
            network[split] = round(network[split] - (60 if reduced else 20), 2)
    return content


def measured_frontier() -> Json:
    """The same after ``deepreduce bench`` of its frontier on two networks; seconds are invented, too.

    "S3" is slower than "S2^RT+S3^RT", which has more ReLUs: what the chart against seconds must show.
    """
    content = frontier()
    for network in content["networks"]:
        if network["on_frontier"]:
            slow = 5.0 if network["name"] == "S3" else 1.0
            network["private"] = {key: _private(network, key, slow) for key in KEYS}
    return content


def write_measured(directory: Path, content: Json | None = None) -> Path:
    """`write_search` of a measured frontier, with its runs."""
    content = measured_frontier() if content is None else content
    write_search(directory, content)
    (directory / "runs").mkdir(exist_ok=True)
    for network in content["networks"]:
        for private in network.get("private", {}).values():
            (directory / "runs" / private["run"]).write_text(json.dumps(run(network, private)), encoding="utf-8")
    return directory


def run(network: Json, private: Json) -> Json:
    """A run file: the part of docs/reference/run-json.md that the report reads."""
    kinds = [("input", "Input"), ("stem.conv", "Conv"), ("stem.rescale", "Rescale")]
    for block in range(1, 5):
        kinds += [(f"S{block}.0.conv1", "Conv"), (f"S{block}.0.relu1", "Relu"), (f"S{block}.0.add", "Add")]
    kinds += [("head.linear", "Linear"), ("output", "Output")]
    busy = [kind for _, kind in kinds if kind != "Add"]
    ops = []
    for name, kind in kinds:
        share = 0 if kind == "Add" else 1 / len(busy)
        op: Json = {"name": name, "op": kind, "relus": network["relus"] // 4 if kind == "Relu" else 0}
        for phase in ("online", "offline"):
            sent = int(private[f"{phase}_bytes"] * share)
            op[phase] = {
                "seconds": private[f"{phase}_s"] * share,
                "predicted_seconds": private[f"predicted_{phase}_s"] * share,
                "down_bytes": sent,
                "up_bytes": sent // 20,
                "predicted_down_bytes": sent,
                "predicted_up_bytes": sent // 20,
            }
        ops.append(op)
    return {"ops": ops} | {phase: {"seconds": private[f"{phase}_s"]} for phase in ("online", "offline")}


def _private(network: Json, key: str, slow: float) -> Json:
    relus = network["relus"]
    wire = 0.0 if key.endswith("none") else relus * 280 * 8e-9 + 0.02
    online, offline = slow * (0.005 + relus * 2e-7) + wire, 0.2 + relus * 1.3e-6 + 2 * wire
    return {
        "online_s": online,
        "offline_s": offline,
        "predicted_online_s": 0.95 * online,
        "predicted_offline_s": 1.04 * offline,
        "online_bytes": 280 * relus + 12_000,
        "offline_bytes": 600 * relus + 40_000_000,
        "rounds": 10,
        "relus": relus,
        "convs_before": 12,
        "convs_after": 9,
        "plan": digest("plan", network["job"]),
        "run": f"{network['job']}-{key.replace('@', '-')}.json",
        "inferences": 3,
        "threads": 1,
        "batch": 1,
    }


def profile() -> Json:
    """``profile`` of ``frontier.json``: totals, stages and every traced layer."""
    totals = {key: sum(stage[key] for stage in STAGES.values()) for key in ("relus", "params", "macs")}
    return totals | {"stages": copy.deepcopy(STAGES), "layers": _layers()}


def chosen_frontier() -> Json:
    """A measured frontier with two choices: "S3^RT" for a target, and none where nothing fits; invented, too."""
    content = measured_frontier()
    network = next(network for network in content["networks"] if network["name"] == "S3^RT")
    content["targets"] = [
        {
            "targets": ["traffic<1MB"],
            "protocol": "ot",
            "network": None,
            "job": None,
            "validation_accuracy": None,
            "values": [],
            "nearest": {
                "network": "S3^RT, alpha=0.5, rho=0.5",
                "validation_accuracy": 84.12,
                "predicted": [41.8e6],
                "excess": 40.8,
            },
            "skipped": [],
        },
        {
            "targets": ["online<75ms@lan", "relus<20k"],
            "protocol": "ot",
            "network": network["name"],
            "job": network["job"],
            "validation_accuracy": network["validation_accuracy"],
            "values": [
                {"target": "online<75ms@lan", "bound": 0.075, "predicted": 0.0651, "measured": 0.0712, "holds": True},
                {"target": "relus<20k", "bound": 20000, "predicted": 16384.0, "measured": 16384.0, "holds": True},
            ],
            "nearest": None,
            "skipped": [{"name": "S2", "error": "cannot be lowered"}],
        },
    ]
    return content


def unfinished() -> Json:
    """The content of ``progress.json`` after the teacher and two profiling runs of 24 trainings."""
    content = frontier()
    del content["effort"], content["hypervolume"]
    content |= {"finished": False, "criticality": [], "progress": {"done": 3, "trainings": 24}}
    content["networks"] = content["networks"][:3]
    return content


def write_class_errors(directory: Path, content: Json) -> None:
    """Write ``test.json`` of every network that was tested: wrong images go to the next class."""
    classes = len(content["data"]["classes"])
    for network in content["networks"]:
        if network["test_accuracy"] is None:
            continue
        images = [36 - k % 3 for k in range(classes)]
        wrong = [round((100 - network["validation_accuracy"]) / 100 * n * (k % 4) / 1.5) for k, n in enumerate(images)]
        found = {
            "images": images,
            "correct": [n - bad for n, bad in zip(images, wrong, strict=True)],
            "taken_for": [(k + 1) % classes if bad else None for k, bad in enumerate(wrong)],
            "taken_for_images": wrong,
        }
        content_of_test = {"format": 1, "test_accuracy": network["test_accuracy"], "validation_classes": found}
        path = directory / "jobs" / network["job"] / "test.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content_of_test), encoding="utf-8")


def write_search(directory: Path, content: Json | None = None, *, curves: bool = True) -> Path:
    """Write a search folder, ``content`` being its ``frontier.json``, with a training curve for every network."""
    content = frontier() if content is None else content
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "frontier.json").write_text(json.dumps(content), encoding="utf-8")
    for network in content["networks"] if curves else ():
        job = directory / "jobs" / network["job"]
        job.mkdir(parents=True, exist_ok=True)
        (job / "metrics.json").write_text(json.dumps(_metrics(network)), encoding="utf-8")
    return directory


def _networks() -> list[Json]:
    networks = [_network("resnet10", "teacher", "full", False, 311296, 97.49, 96.94, True)]
    for stage, relus, without_kd, with_kd, _ in _CRITICALITY:
        for kd, value in ((False, without_kd), (True, with_kd)):
            networks.append(_network(stage, "profile", "profiled", kd, relus, value, round(value - 0.6, 2), False))
    networks += [_network(n, "candidate", step, True, r, v, t, on) for n, step, r, v, t, on in _CANDIDATES]
    return networks


def _network(
    name: str, role: str, step: str, kd: bool, relus: int, validation: float, test: float, on_frontier: bool
) -> Json:
    halves = (2 if "alpha" in name else 1, 4 if "rho" in name else 1)
    return {
        "name": name,
        "role": role,
        "step": step,
        "kd": kd,
        "relus": relus,
        "params": 4903242 // halves[0] ** 2,
        "macs": 253432832 // halves[0] ** 2 // halves[1],
        "validation_accuracy": validation,
        "test_accuracy": test,
        "job": digest(name, role, kd),
        "seconds": round(140.0 / halves[0] / halves[1] + relus / 5e3, 1),
        "epochs": 30,
        "on_frontier": on_frontier,
    }


def _metrics(network: Json) -> Json:
    last = network["validation_accuracy"] or 50.0
    history = []
    for epoch in range(1, network["epochs"] + 1):
        reached = 1 - math.exp(-epoch / 4) + 0.01 * math.sin(epoch * 1.7) * math.exp(-epoch / 9)
        rate = 0.1 if epoch <= 15 else 0.01 if epoch <= 25 else 0.001
        history.append(
            {
                "epoch": epoch,
                "learning_rate": rate,
                "train_loss": round(2.3 * math.exp(-epoch / 5), 4),
                "train_accuracy": round(100 * (1 - math.exp(-epoch / 3.5)), 2),
                "validation_accuracy": round(last * reached, 2),
                "seconds": 4.7,
            }
        )
    return {"history": history}


def _layers() -> list[Json]:
    layers = [
        _layer("stem.conv", "conv", "stem", 0, 1728, 1769472),
        _layer("stem.norm", "norm", "stem", 0, 128, 0),
        _layer("stem.relu", "relu", "stem", 65536, 0, 0),
    ]
    for stage, shortcut in (("S1", 0), ("S2", 1), ("S3", 1), ("S4", 1)):
        whole = STAGES[stage]
        # A 1x1 shortcut has 1/9 of a 3x3's weights; the split between the two 3x3s is rough, being fixture data.
        first = whole["params"] // (3 if shortcut else 2)
        skip = first // 9 * shortcut
        macs, relus = whole["macs"] // 2, whole["relus"] // 2
        layers += [
            _layer(f"{stage}.0.conv1", "conv", stage, 0, first, macs - macs // 9 * shortcut),
            _layer(f"{stage}.0.relu1", "relu", stage, relus, 0, 0),
            _layer(f"{stage}.0.conv2", "conv", stage, 0, whole["params"] - first - skip, whole["macs"] - macs),
        ]
        if shortcut:
            layers.append(_layer(f"{stage}.0.shortcut", "conv", stage, 0, skip, macs // 9))
        layers.append(_layer(f"{stage}.0.relu2", "relu", stage, whole["relus"] - relus, 0, 0))
    layers.append(_layer("head.pool", "pool", "head", 0, 0, 0))
    layers.append(_layer("head.linear", "linear", "head", 0, 5130, 5120))
    return layers


def _layer(name: str, op: str, stage: str, relus: int, params: int, macs: int) -> Json:
    return {
        "name": name,
        "op": op,
        "stage": stage,
        "shape": [64, 32, 32],
        "relus": relus,
        "params": params,
        "macs": macs,
    }
