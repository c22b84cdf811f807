"""Plans of one layer, for measurements."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from deepreduce.export import quantize, random_images, with_random_weights
from deepreduce.lowering import Lowered
from deepreduce.plan import AvgPool, Conv, FixedPoint, MaxPool, Op, Relu, Rescale, write_plan, write_weights

SIDE = 32
RING = FixedPoint(32, 8)


def write_relus(folder: Path, relus: int) -> None:
    """So many ReLUs, a multiple of 1024: a 1x1 convolution to maps of 32x32, their ReLUs, a sum over each map."""
    maps = relus // SIDE**2
    convolution = Conv("conv", ("input",), maps, (1, 1), (1, 1), (0,) * 4, 1, True, 0, 0)
    relu = Relu("relu", ("conv",), 0, 0, 0)
    total = AvgPool("sum", ("relu",), (SIDE, SIDE), (SIDE, SIDE), (0,) * 4)
    # the sums of 1024 may have 22 bits, so that the ReLUs' outputs have 12 or so
    _write(folder, (4, SIDE, SIDE), (convolution, relu, total), {"conv": np.zeros((maps, 4, 1, 1))}, activation_bits=22)


def write_nonlinear(folder: Path, op: Op) -> None:
    """A 1x1 convolution to 64 maps of 32x32, the op named "op" on them (a pool after a Rescale), a 1x1 convolution."""
    before: tuple[Op, ...] = (Conv("conv", ("input",), 64, (1, 1), (1, 1), (0,) * 4, 1, True, 0, 0),)
    if isinstance(op, MaxPool):
        before = (*before, Rescale("small", ("conv",), 0, 0))
        op = replace(op, inputs=("small",))
    after = Conv("last", ("op",), 1, (1, 1), (1, 1), (0,) * 4, 1, True, 0, 0)
    weights = {"conv": np.zeros((64, 4, 1, 1)), "last": np.zeros((1, 64, 1, 1))}
    _write(folder, (4, SIDE, SIDE), (*before, op, after), weights, activation_bits=13)


def write_conv(folder: Path, channels: int, side: int) -> None:
    """One 3x3 convolution with as many channels out as in."""
    convolution = Conv("conv", ("input",), channels, (3, 3), (1, 1), (1,) * 4, 1, True, 0, 0)
    weights = {"conv": np.zeros((channels, channels, 3, 3))}
    _write(folder, (channels, side, side), (convolution,), weights, activation_bits=13)


def _write(
    folder: Path, shape: tuple[int, int, int], ops: tuple[Op, ...], arrays: dict[str, np.ndarray], activation_bits: int
) -> None:
    lowered = Lowered(shape, ops, {name: (weight, np.zeros(len(weight))) for name, weight in arrays.items()})
    rng = np.random.default_rng(0)
    lowered = with_random_weights(lowered, rng)
    plan, weights = quantize(lowered, random_images(shape, rng, 1), RING, activation_bits)
    write_plan(folder / "plan.json", plan)
    write_weights(folder / "weights.safetensors", plan, weights)
