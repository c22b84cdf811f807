"""The fractional bits of a plan's input, by the samples, and what rounding does to answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import PlanError
from ...lowering.ir import Lowered
from ...plan import Plan, reference
from .calibration import Reals, answers

USUAL_FRACTION = 8  # where the standard deviation is 1: a quarter of a level of 8-bit pictures that are normalized
INPUT_BITS = 14  # at most, of the largest sample: what activations have
CHECKED_IMAGES = 8
MOST_LOST = 0.05  # of the answers' standard deviation, by rounding
NORMALIZE = "normalize each channel to mean 0 and standard deviation 1, in training, too"


def calibrated_fraction(lowered: Lowered, images: Reals) -> int:
    """Return the fractional bits with which ``images`` [B, C, H, W] are rounded as finely as normalized ones are.

    The channel with the smallest standard deviation decides, within `INPUT_BITS`; one that hardly differs from a
    constant does not. Raises `PlanError` where a channel is rounded more coarsely, and that moves the answers by more
    than `MOST_LOST`.
    """
    peak = float(np.abs(images).max())
    if not np.isfinite(peak) or not peak:
        return USUAL_FRACTION
    deviations = images.std(axis=(0, 2, 3))
    least = float(deviations.min(initial=peak, where=deviations > np.ldexp(peak, -INPUT_BITS)))
    wanted = USUAL_FRACTION - round(float(np.log2(least)))
    fraction = min(wanted, INPUT_BITS - int(np.frexp(peak)[1]))
    if fraction == wanted and least == deviations.min():
        return fraction
    few = images[:CHECKED_IMAGES]
    rounded = np.ldexp(np.rint(np.ldexp(few, fraction)), -fraction)
    lost = difference(answers(lowered, few), answers(lowered, rounded))
    if lost > MOST_LOST:
        raise PlanError(
            f"the inputs reach {peak:.3g}, but a channel varies by {deviations.min():.3g} only: "
            f"rounded to {INPUT_BITS} bits they move the answers by {100 * lost:.0f} % of their standard deviation",
            NORMALIZE,
        )
    return fraction


def plan_difference(lowered: Lowered, plan: Plan, weights: Mapping[str, NDArray[Any]], images: Reals) -> float:
    """Return the `difference` of the plan's answers from the network's, for the first of the ``images``."""
    few = images[:CHECKED_IMAGES]
    integers = reference.answers(plan, weights, reference.encode_input(plan, few))
    return difference(answers(lowered, few), reference.decode_output(plan, integers))


def difference(exact: Reals, rounded: Reals) -> float:
    """Return how far answers [B, ...] are from exact ones, relative to the standard deviation from image to image.

    Answers of a network that hardly tells one image from another are compared with all of their values.
    """
    deviation = max(float(np.sqrt(exact.var(axis=0).mean())), 1e-3 * float(exact.std()))
    return float(np.sqrt(((rounded - exact) ** 2).mean())) / deviation if deviation else 0.0
