"""ReLU culling: remove every ReLU of whole stages (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable

from ..networks.network import Network
from .select import require_stages, restrict


def cull(model: Network, stages: Iterable[str]) -> Network:
    """Return a new network without the ReLUs of ``stages``, for example ``cull(model, stages={"stem", "S1"})``.

    Weights are copied, ``model`` is unchanged. Raises `PointError` for a stage that is unknown or already culled.
    """
    gone = require_stages(model, stages)
    return restrict(model, model.point.with_terms(term for term in model.point.terms if term.stage not in gone))
