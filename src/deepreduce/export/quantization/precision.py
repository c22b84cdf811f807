"""Choice of the ring and of the weight bits: the narrowest that hold a network's values and hide its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import PlanError, SettingError
from ...lowering.ir import Lowered
from ...plan import LINK_RATE, FixedPoint, Plan, packings, shapes
from ...plan.execution.polynomials import noise_norm
from ...plan.validation import MAX_WEIGHT_BITS
from .input_scale import MOST_LOST, calibrated_fraction, plan_difference
from .quantize import ACTIVATION_BITS, MIN_WEIGHT_BITS, Weights, quantize

RingBits = int | Literal["auto"]
NARROW, WIDE = 32, 41  # of the two sets of homomorphic parameters: below, everything is about half as expensive
FEWEST_WEIGHT_BITS = 10  # that "auto" goes down to before it takes the wide ring
MAX_LOG2_NORM = 24.4  # of the weights at l <= 32, where the compiled core is missing that knows it better


def quantized(
    lowered: Lowered,
    images: NDArray[np.float64],
    ring_bits: RingBits = "auto",
    weight_bits: int = MAX_WEIGHT_BITS,
    activation_bits: int = ACTIVATION_BITS,
    input_fraction: int | None = None,
    link_rate: int = LINK_RATE,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Plan, Weights, tuple[str, ...]]:
    """`quantize` in the first ring that will do, and sentences about what did not.

    "auto" tries 32 bits with ``weight_bits`` and down to 10 of them, then 41 bits. The input has ``input_fraction``
    fractional bits, None: as many as the images need (`calibrated_fraction`). Raises `PlanError` with the reason
    of the last try, `SettingError` for bits that cannot be.
    """
    _check(ring_bits, weight_bits, activation_bits)
    if input_fraction is None:
        input_fraction = calibrated_fraction(lowered, images)
    tries = [(ring_bits, weight_bits)] if ring_bits != "auto" else _tries(weight_bits)
    notices: list[str] = []
    too_large = 0
    for index, (ring, bits) in enumerate(tries):
        if ring <= NARROW and bits > weight_bits - too_large:
            continue  # the norm of the weights is known to be too large still
        if progress:
            progress(f"quantize to {bits} bits in a ring of {ring}", index, len(tries))
        try:
            plan, weights = quantize(lowered, images, FixedPoint(ring, input_fraction), activation_bits, bits)
            plan = replace(plan, link_rate=link_rate)
            check_norm(plan, weights)
        except PlanError as error:
            if ring_bits != "auto" or (ring, bits) == tries[-1]:
                raise
            notices.append(f"a ring of {ring} bits with weights of {bits} will not do: {error.message}")
            too_large = max(too_large, getattr(error, "bits", 0) + weight_bits - bits)
            continue
        if notices:
            notices.append(f"taken: a ring of {ring} bits with weights of {bits}")
        if (apart := plan_difference(lowered, plan, weights, images)) > MOST_LOST:
            notices.append(
                f"the plan's answers differ from the network's by {100 * apart:.0f} % of their standard deviation: "
                f"more bits, or inputs of mean 0 and standard deviation 1, bring them closer"
            )
        return plan, weights, tuple(notices)
    raise AssertionError("the last try either returns or raises")


class NormError(PlanError):
    """Weights too large for the server to hide; ``bits`` fewer of each would do."""

    def __init__(self, message: str, hint: str, bits: int) -> None:
        super().__init__(message, hint)
        self.bits = bits

    def __reduce__(self) -> tuple[Any, Any]:
        return type(self), (self.message, self.hint, self.bits)


def check_norm(plan: Plan, weights: Weights) -> None:
    """Refuse weights that the server's noise cannot hide (docs/reference/protocol.md: the flood), as the server itself
    would.
    """
    norm, outputs = noise_norms(plan, weights)
    fewer = next((n for n in range(MAX_WEIGHT_BITS) if _hidden(plan.ring.ring_bits, norm / 4**n, outputs)), None)
    if fewer is None or fewer:
        raise NormError(
            f"the weights' norm over all places that they are used at, 2^{np.log2(norm) / 2:.2f}, is more than a ring "
            f"of {plan.ring.ring_bits} bits can hide",
            "use fewer weight bits, a ring of more than 32 bits, or a slower link's layout",
            MAX_WEIGHT_BITS if fewer is None else fewer,
        )


def noise_norms(plan: Plan, weights: Weights) -> tuple[float, float]:
    """(B, the budget of the flood that a plan's linear ops use; their outputs)."""
    found, norm, outputs = shapes(plan), 0.0, 0.0
    for name, packing in packings(plan).items():
        norm += noise_norm(packing, weights[f"{name}.weight"])
        outputs += prod(found[name])
    return norm, outputs


def _hidden(ring_bits: int, norm: float, outputs: float) -> bool:
    try:
        from ... import _core
    except ImportError:
        return ring_bits > NARROW or np.log2(max(norm, 1.0)) / 2 <= MAX_LOG2_NORM
    try:
        _core.he_check_norm(ring_bits, norm, outputs)
    except ValueError:
        return False
    return True


def _tries(weight_bits: int) -> list[tuple[int, int]]:
    narrow = range(weight_bits, min(FEWEST_WEIGHT_BITS, weight_bits) - 1, -1)
    return [*((NARROW, bits) for bits in narrow), (WIDE, weight_bits)]


def _check(ring_bits: RingBits, weight_bits: int, activation_bits: int) -> None:
    if isinstance(ring_bits, int) and not 6 <= ring_bits <= 64:
        raise SettingError(
            f"a ring of {ring_bits} bits, from 6 to 64 are possible", "32 is usual, 41 for large networks"
        )
    most = (NARROW if ring_bits == "auto" else ring_bits) - 4
    if not 2 <= activation_bits <= most:
        raise SettingError(
            f"{activation_bits} activation bits, from 2 to {most} fit a ring of {most + 4} bits",
            f"{ACTIVATION_BITS} is usual",
        )
    if not 2 <= weight_bits <= MAX_WEIGHT_BITS:
        raise SettingError(
            f"{weight_bits} weight bits, from 2 to {MAX_WEIGHT_BITS} are allowed", f"at least {MIN_WEIGHT_BITS} is wise"
        )
