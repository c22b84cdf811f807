"""ReLU thinning: drop every other ReLU layer of a stage (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable

from ..networks.network import Network
from ..networks.point import Phase
from .select import with_terms


def thin(model: Network, stages: Iterable[str], phase: Phase = "inner") -> Network:
    """Return a new network with every other ReLU layer of ``stages`` dropped, named ``S2^RT``.

    ``phase="inner"`` keeps each block's last ReLU layer and drops the one before it, and so on backwards; in a stage
    without blocks, or with blocks of one ReLU layer, it does so over the whole stage. In residual blocks of two
    convolutions this drops the inner ReLU and keeps the one after the addition; a bottleneck of three keeps its first,
    too. Why the one after the addition: it acts on the sum that every later block reads, so it bends both the
    shortcut's path and the residual's, while with it gone the shortcuts of a stage would form one linear path from end
    to end; and without the inner ReLU the block's two convolutions are adjacent and merge into one, which the ReLU
    after the addition would not allow. ``phase="outer"`` keeps the others, to test this.

    Raises `PointError` for a stage that is unknown, culled, or has a single ReLU layer.
    """
    return with_terms(model, stages, phase, None)
