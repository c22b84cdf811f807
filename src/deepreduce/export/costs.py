"""Costs of a network in private before anyone has trained it: plans with random weights, as an export would make them.

Structure, sizes and seconds of a plan follow from the network; its weights only choose how far values are shifted, and
random ones of trained range choose alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..lowering.lower import lower
from ..networks.network import Network
from ..plan.cost.network_link import layout_rate, parse_link
from ..plan.cost.run_cost import RunCost, run_cost
from ..progress import Progress, no_progress
from .merging.merge import merge_ops
from .quantization.precision import quantized
from .quantization.rescales import with_rescales
from .synthetic import random_images, with_random_weights

LINKS = ("none", "lan", "wan")
CALIBRATION_IMAGES = 1


def predicted_costs(
    network: Network, links: Sequence[str] = LINKS, *, seed: int = 0, progress: Progress | None = None
) -> list[RunCost]:
    """Return what one private prediction of ``network`` costs over each of ``links``, each by a plan laid out for it.

    Raises `ModelError`, naming operation, place and remedy, for what no plan can have; `PlanError` where no ring will
    do; `SettingError` for an unknown link.
    """
    rates = [layout_rate(parse_link(link)) for link in links]
    report = progress or no_progress
    rng = np.random.default_rng(seed)
    lowered = with_random_weights(lower(network), rng)
    images = random_images(lowered.input_shape, rng, CALIBRATION_IMAGES)
    costs = []
    for index, (link, rate) in enumerate(zip(links, rates, strict=True)):
        report(f"predict costs over {link}", index, len(links))
        plan, _, _ = quantized(with_rescales(merge_ops(lowered, link_rate=rate)), images, link_rate=rate)
        costs.append(run_cost(plan, link))
    return costs
