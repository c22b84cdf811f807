"""The check before any training that the networks of a search can run in private: that a plan can hold them.

Every operation of a network must be one that a plan has (`deepreduce.lowering`). Reduced networks differ from the full
one in what is merged, padded, narrowed and shrunk, so each kind of candidate is lowered, too.
"""

from __future__ import annotations

from ..errors import DeepReduceError, ModelError
from ..lowering.lower import lower
from ..networks.network import Network
from ..reduce.build import reduce_to
from .candidates import candidates


def check_private(full: Network) -> None:
    """Raise `ModelError`, naming operation, place and remedy, if no plan can hold the unreduced network."""
    try:
        lower(full)
    except ModelError as error:
        raise ModelError(
            f"the network cannot run in private: {error.message}",
            f"{error.hint}; `private=False` searches all the same",
        ) from error


def kinds_without_plan(full: Network, alpha: float, rho: float, front_padding: bool) -> dict[str, str]:
    """Return the steps of candidates (`deepreduce.search.candidates`) that no plan can hold, and the reasons.

    One of each step is tried, that of the first culling iteration. What cannot be made at all is none of them: the
    search says so when it plans it.
    """
    reasons: dict[str, str] = {}
    steps = {c.step: c.point for c in reversed(candidates(full.layout, full.layout.ranked_stages, alpha, rho))}
    for step, point in steps.items():
        try:
            network = reduce_to(full, point, front_padding=front_padding)
        except DeepReduceError:
            continue
        try:
            lower(network)
        except ModelError as error:
            reasons[step] = str(error)
    return reasons
