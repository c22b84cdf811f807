"""ReLU thinning: drop every other ReLU layer of a stage (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable

from ..networks.network import Network
from ..networks.point import Phase
from .select import with_terms


def thin(model: Network, stages: Iterable[str], phase: Phase = "inner") -> Network:
    """A new network with every other ReLU layer of ``stages`` dropped, named ``S2^RT``.

    ``phase="inner"`` keeps the stage's last ReLU layer and drops the one before it, and so on backwards. In residual
    blocks of two convolutions this drops the inner ReLU and keeps the one after the addition. Why that one: the ReLU
    after the addition acts on the sum that every later block reads, so it bends both the shortcut's path and the
    residual's, while with it gone the shortcuts of a stage would form one linear path from end to end; and without
    the inner ReLU the block's two convolutions are adjacent and merge into one, which the ReLU after the addition
    would not allow. ``phase="outer"`` drops the last and keeps the one before, to test this.

    Raises `PointError` for a stage that is unknown, culled, or has a single ReLU layer.
    """
    return with_terms(model, stages, phase, None)
