"""Seconds of a private inference, predicted at full scale, to stand beside those that the paper measured.

A prediction takes a plan (with random weights: times do not depend on them) and so the compiled core, for some twenty
seconds each. It is made once and kept in a file with the results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import MissingPackageError, StoreError
from ..files import parse_json, write_whole
from .job_factory import SHAPES
from .table import Row
from .training import Training

MEANING = (
    "Predicted, not measured: both parties on one machine with two cores, over loopback, linear layers merged, by the "
    "model that bench/service/timing.py fits to our runs. Online is what remains to be done when the image is there."
)


@dataclass(frozen=True)
class LatencyPrediction:
    """Seconds of one inference by each protocol."""

    ot_online_s: float
    ot_offline_s: float
    delphi_online_s: float
    delphi_offline_s: float


def key(training: Training) -> str:
    """Return what decides the time: the network, its point and the size of the data."""
    return f"{training.network} {training.point} {training.data}"


def read_latencies(path: Path) -> dict[str, LatencyPrediction]:
    """Return what was predicted before. Raises `StoreError` for a file that is not such a list."""
    if not path.is_file():
        return {}
    try:
        return {name: LatencyPrediction(**found) for name, found in parse_json(path.read_bytes())["seconds"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is damaged ({error})", "delete it and give `latency` to predict again") from None


def predict_missing(
    path: Path, rows: Iterable[Row], tell: Callable[[str], None] = lambda text: None
) -> Mapping[str, LatencyPrediction]:
    """Add the predictions that rows with a printed time lack, each written at once. Raises `MissingPackageError`."""
    known = read_latencies(path)
    wanted = {key(row.training): row.training for row in rows if row.latency_s is not None and row.training is not None}
    for name, training in wanted.items():
        if name not in known:
            tell(f"predict the seconds of {name}")
            known[name] = _predicted(training)
            content = {"meaning": MEANING, "seconds": {text: asdict(found) for text, found in sorted(known.items())}}
            write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
    return known


def _predicted(training: Training) -> LatencyPrediction:
    try:
        from ..export import plan_of
    except ImportError as error:
        raise MissingPackageError(
            "seconds are predicted for plans, which the compiled core must be able to run", "install deepreduce"
        ) from error
    from ..plan.cost.latency import run_seconds

    shape, classes = SHAPES[training.data]
    plan, _ = plan_of(training.network, training.point, image=shape[1], channels=shape[0], classes=classes)
    ot, delphi = run_seconds(plan, "ot"), run_seconds(plan, "delphi")
    return LatencyPrediction(ot.online, ot.offline, delphi.online, delphi.offline)
