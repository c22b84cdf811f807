"""The plan: a network as both parties see it, in integers, without its weights.

A closed union of ops in topological order, the ring and the fixed-point formats, and the name of a set of homomorphic
parameters. Normative description: docs/reference/plan-format.md. The classes here hold anything; rules.py says what a
plan may.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

VERSION = 3
INPUT = "input"  # the name by which ops refer to the image
OUTPUT = "output"  # reserved: the cost of sending the result is booked under it


@dataclass(frozen=True, slots=True)
class Conv:
    """Two-dimensional convolution (cross-correlation, as in deep learning) with zero padding; (C, H, W) to (O, H', W').

    ``weight_bits`` bounds the weights: |w| < 2^(weight_bits - 1). The result has ``weight_fraction`` more fractional
    bits than the input; a bias is given at that scale. ``padding`` is (top, bottom, left, right), in elements.
    """

    name: str
    inputs: tuple[str, ...]
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    groups: int
    bias: bool
    weight_bits: int
    weight_fraction: int


@dataclass(frozen=True, slots=True)
class Linear:
    """Matrix product, (C,) to (F,); weights and scales as in `Conv`."""

    name: str
    inputs: tuple[str, ...]
    out_features: int
    bias: bool
    weight_bits: int
    weight_fraction: int


@dataclass(frozen=True, slots=True)
class Add:
    """Sum of two or more tensors of one shape and one scale."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Concat:
    """Two or more tensors one after another along channels (or features); one scale."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AvgPool:
    """The SUM over each window, zeros outside; later weights carry the division, so that this op costs nothing."""

    name: str
    inputs: tuple[str, ...]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The maximum over each window; padding never wins, as if it were minus infinity.

    Computed as a tournament of ``a + relu(b - a)`` (`deepreduce.plan.execution.maxpool`). ``peak`` is the calibrated
    maximum of the inputs' magnitude, ``window`` the ring bits that the differences may use.
    """

    name: str
    inputs: tuple[str, ...]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    window: int
    peak: int


@dataclass(frozen=True, slots=True)
class Relu:
    """Kept elements give ``max(0, y) >> shift``, removed ones ``y >> shift`` (floor), so that both share a scale.

    ``kept`` is None when all are kept, else one bit per element of one image in row-major order, packed by
    `numpy.packbits` (first element in the highest bit; trailing bits zero). The protocols are right for
    -2^(window - 1) <= y < 2^(window - 1); ``peak`` is the calibrated maximum of |y|.
    """

    name: str
    inputs: tuple[str, ...]
    shift: int
    window: int
    peak: int
    kept: bytes | None = None


@dataclass(frozen=True, slots=True)
class Rescale:
    """``y >> shift`` (floor). A negative shift multiplies by 2^-shift and costs nothing. ``peak``: maximum of |y|."""

    name: str
    inputs: tuple[str, ...]
    shift: int
    peak: int


@dataclass(frozen=True, slots=True)
class Flatten:
    """(C, H, W) to (C*H*W,), row-major."""

    name: str
    inputs: tuple[str, ...]


Op: TypeAlias = Conv | Linear | Add | Concat | AvgPool | MaxPool | Relu | Rescale | Flatten
OPS: tuple[type[Op], ...] = (Conv, Linear, Add, Concat, AvgPool, MaxPool, Relu, Rescale, Flatten)


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """The ring Z_2^ring_bits, and the fractional bits of the image: the integer v stands for v / 2^input_fraction."""

    ring_bits: int
    input_fraction: int


@dataclass(frozen=True, slots=True)
class Pictures:
    """Preprocessing of a picture to the network's input (`deepreduce.plan.preprocessing`), and what its answer
    means.

    8-bit values over 255, minus ``mean``, over ``std`` (per channel, in units of 2^-16), averaged down to the plan's
    ``input_shape`` (rho). ``classes`` are the names of the output's places, none when they are not known.
    """

    shape: tuple[int, int, int]  # (C, H, W) of the picture
    mean: tuple[int, ...]
    std: tuple[int, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """Public sizes of one set of homomorphic parameters; everything else about it lives with the cryptography."""

    name: str
    poly_degree: int  # N, coefficients per polynomial
    primes: int  # of PRIME_BITS bits each; their product is the upload modulus
    min_ring_bits: int
    max_ring_bits: int


PICTURE_BITS = 16  # fractional bits of a Pictures' mean and std
PRIME_BITS = 50
LINK_RATE = 10**9  # bits per second
PARAMETER_SETS = {
    parameters.name: parameters
    for parameters in (ParameterSet("rlwe-4096", 4096, 2, 2, 32), ParameterSet("rlwe-8192", 8192, 3, 33, 64))
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A network in integers: ``ops`` in topological order on an image of ``input_shape`` (C, H, W)."""

    version: int
    ring: FixedPoint
    input_shape: tuple[int, int, int]
    ops: tuple[Op, ...]
    output: str  # the op whose value is the answer
    parameter_set: str
    pictures: Pictures | None = None  # None: the client must know itself what the input is
    link_rate: int = LINK_RATE  # bits per second of the link that linear ops are laid out for


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes from client to server (up) and back (down), frame headers included, and round trips."""

    up_bytes: int = 0
    down_bytes: int = 0
    rounds: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.up_bytes + other.up_bytes, self.down_bytes + other.down_bytes, self.rounds + other.rounds)


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of an op or a run: predicted by `deepreduce.plan.cost.traffic`, measured by a session, compared by
    tests.

    ``relus`` counts comparisons (a MaxPool's too), ``rescales`` the elements of paid right shifts. Stored bytes are
    the one-time material that lies between preparation and use.
    """

    relus: int = 0
    rescales: int = 0
    offline: Traffic = field(default_factory=Traffic)
    online: Traffic = field(default_factory=Traffic)
    stored_bytes_client: int = 0
    stored_bytes_server: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.relus + other.relus,
            self.rescales + other.rescales,
            self.offline + other.offline,
            self.online + other.online,
            self.stored_bytes_client + other.stored_bytes_client,
            self.stored_bytes_server + other.stored_bytes_server,
        )


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum; rounds are added too, which is right only for ops that wait for each other."""
    result = Cost()
    for cost in costs:
        result = result + cost
    return result


def pack_kept(mask: ArrayLike) -> bytes:
    """Return a boolean mask of one image's elements, any shape, as `Relu.kept` holds it."""
    return np.packbits(np.asarray(mask, dtype=np.bool_).ravel()).tobytes()


def kept_mask(op: Relu, elements: int) -> NDArray[np.bool_]:
    """Return the mask of kept elements [elements], row-major; all true when nothing is removed."""
    if op.kept is None:
        return np.ones(elements, dtype=np.bool_)
    return np.unpackbits(np.frombuffer(op.kept, dtype=np.uint8), count=elements).astype(np.bool_)
