"""Targets of a search: which network was chosen for each, and predicted against measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...units import show_bytes, show_seconds
from ..formatting import whole
from ..reading.records import ReportedNetwork, ReportedTarget


@dataclass(frozen=True)
class TargetRow:
    """One target; ``measured`` and what follows are empty for a network that was not measured."""

    target: str
    predicted: str
    measured: str = ""
    difference: str = ""
    holds: bool | None = None


@dataclass(frozen=True)
class TargetView:
    """Targets that hold together, and the choice: ``network`` is None where nothing fits."""

    title: str
    network: ReportedNetwork | None
    sentence: str
    rows: tuple[TargetRow, ...]
    skipped: tuple[str, ...]


def compute_targets(targets: Sequence[ReportedTarget], networks: Sequence[ReportedNetwork]) -> tuple[TargetView, ...]:
    """Return the choices, the last one last; a job that is no longer there is passed over."""
    known = {network.job: network for network in networks}
    return tuple(_view(one, known.get(one.job or "")) for one in targets if one.job is None or one.job in known)


def _view(target: ReportedTarget, network: ReportedNetwork | None) -> TargetView:
    title = " and ".join(target.targets)
    if network is not None:
        sentence = (
            f"{network.label} was chosen: of the networks predicted to meet the target (protocol {target.protocol}), "
            "it has the best validation accuracy. Then it was measured."
        )
        rows = [
            TargetRow(
                value.target,
                _shown(value.target, value.predicted),
                _shown(value.target, value.measured),
                _difference(value.predicted, value.measured),
                value.holds,
            )
            for value in target.values
        ]
        return TargetView(title, network, sentence, tuple(rows), target.skipped)
    sentence = "No network is predicted to meet the target."
    rows = []
    if target.nearest is not None:
        sentence += f" {target.nearest} comes closest."
        pairs = zip(target.targets, target.nearest_predicted, strict=False)
        rows = [TargetRow(text, _shown(text, value)) for text, value in pairs]
    return TargetView(title, None, sentence, tuple(rows), target.skipped)


def _shown(target: str, value: float) -> str:
    """Return the value in the unit of the target's quantity: ReLUs, bytes or seconds."""
    if target.startswith("relus"):
        return whole(round(value))
    return show_bytes(value) if target.startswith("traffic") else show_seconds(value)


def _difference(predicted: float, measured: float) -> str:
    """Return how far the measured value is from the predicted one."""
    if measured == predicted or not predicted:
        return "as predicted"
    return f"{100 * (measured / predicted - 1):+.1f}\N{NO-BREAK SPACE}%"
