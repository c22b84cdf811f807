"""Distribution of ReLUs, parameters and multiply-accumulates: shares per stage and per layer (the paper's Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..formatting import share
from ..reading.records import ReportedCost, ReportedProfile


@dataclass(frozen=True)
class StageShare:
    """One bar's place: a stage or a layer, its counts, and their part of the whole network in percent."""

    cost: ReportedCost
    relu_share: float
    param_share: float
    mac_share: float


@dataclass(frozen=True)
class DistributionView:
    """Shares per stage and per layer, both from input to output."""

    relus: int
    params: int
    macs: int
    stages: tuple[StageShare, ...]
    layers: tuple[StageShare, ...]

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages in the order in which the layers meet them."""
        return tuple(dict.fromkeys(layer.cost.stage for layer in self.layers))


def compute_distribution(profile: ReportedProfile) -> DistributionView:
    """Return every stage's and every layer's part of the network's totals."""

    def shares(costs: Sequence[ReportedCost]) -> tuple[StageShare, ...]:
        return tuple(
            StageShare(c, share(c.relus, profile.relus), share(c.params, profile.params), share(c.macs, profile.macs))
            for c in costs
        )

    layers = shares(_fold(profile.layers))
    return DistributionView(profile.relus, profile.params, profile.macs, shares(profile.stages), layers)


def _fold(layers: Sequence[ReportedCost]) -> tuple[ReportedCost, ...]:
    """Normalizations, ReLUs and pools joined to the convolution they follow.

    A trace lists them one by one; on their own they would be bars of height zero in two pictures out of three, and
    the paper counts a layer as a convolution with what follows it. A ReLU goes to the heaviest convolution since the
    one before: behind a block's addition that is the main path's, not the shortcut's, whichever was traced last.
    """
    folded: list[ReportedCost] = []
    fresh = 0  # the first that no ReLU has followed yet
    for layer in layers:
        if folded and not layer.macs and folded[-1].stage == layer.stage:
            at = len(folded) - 1
            if layer.relus:
                waiting = [k for k in range(fresh, len(folded)) if folded[k].stage == layer.stage]
                at = max(waiting or [at], key=lambda k: folded[k].macs)
                fresh = len(folded)
            last = folded[at]
            folded[at] = replace(last, relus=last.relus + layer.relus, params=last.params + layer.params)
        else:
            folded.append(layer)
    return tuple(cost for cost in folded if cost.relus or cost.params or cost.macs)
