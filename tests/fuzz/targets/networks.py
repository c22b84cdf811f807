"""Networks from outside: ONNX files, state dicts; and the grammars of points and targets."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from deepreduce.errors import PointError
from deepreduce.export.sources import read_calibration
from deepreduce.networks import ModelSource
from deepreduce.networks.onnx.importer import read_onnx
from deepreduce.networks.point import parse_point
from deepreduce.networks.weights import load_weights
from deepreduce.search.targets import parse_target
from fuzz.mutators import onnx_mutator, safetensors_mutator
from fuzz.scratch import scratch, written
from fuzz.target import target

STAGES = ("stem", "S1", "S2", "S3", "S4")


def onnx_seeds() -> Iterator[bytes]:
    import onnx_spellings as spelled

    for name, (nodes, constants) in spelled.SPELLINGS.items():
        path = scratch() / "seed.onnx"
        spelled.save(path, [*nodes, *spelled.HEAD], {**spelled.CONSTANTS, **constants})
        assert name
        yield path.read_bytes()
    for nodes, constants in bombs():
        spelled.save(path, [*nodes, *spelled.HEAD], {**spelled.CONSTANTS, **constants})
        yield path.read_bytes()


def bombs() -> Iterator[tuple[list[object], dict[str, object]]]:
    """A few bytes that ask for gigabytes, or for ever."""
    from onnx_spellings import CONV, node

    def ints(*values: int) -> np.ndarray:
        return np.array(values, np.int64)

    many = ints(1 << 20, 1 << 20)
    yield [node("ConstantOfShape", "many", "big"), *CONV, node("Add", "r big", "last")], {"many": many}
    yield [node("Expand", "one many", "big"), *CONV, node("Add", "r big", "last")], {"many": many, "one": np.float32(1)}
    yield (
        [node("Tile", "one many", "big"), *CONV, node("Add", "r big", "last")],
        {"many": many, "one": np.zeros((1, 1))},
    )
    range_ = {"zero": np.float64(0), "end": np.float64(1e15), "step": np.float64(1)}
    yield [node("Range", "zero end step", "big"), *CONV, node("Add", "r big", "last")], range_
    pads = {"p": ints(0, 0, 1 << 20, 1 << 20, 0, 0, 2, 1)}
    yield [*CONV, node("Pad", "r p", "q"), node("Conv", "q D", "last")], pads
    yield [*CONV, node("Conv", "r D", "last", pads=[1 << 20] * 4)], {}
    doubled = [node("Concat", f"r{n} r{n}", f"r{n + 1}", axis=1) for n in range(40)]
    yield [*CONV, node("Relu", "r", "r0"), *doubled, node("Relu", "r40", "last")], {}
    column, row = np.ones((128, 1)), np.ones((1, 128))
    outer = {"column": column, "row": row, "high": ints(-1, 1), "wide": ints(1, -1)}
    squares = [node("Mul", "column row", "s"), node("Reshape", "s high", "h"), node("Reshape", "s wide", "w")]
    squares += [node("Mul", "h w", "s3")]
    yield [*squares, *CONV, node("Add", "r s3", "last")], outer


@target(onnx_seeds, memory_mb=768, seconds=20, most_bytes=16_000, mutate=onnx_mutator)
def onnx(data: bytes) -> None:
    """Any ONNX file: what is read computes one row of finite shape for one image."""
    from deepreduce.networks.onnx import importer as onnx_in

    onnx_in._read.cache_clear()
    found = read_onnx(written("network.onnx", data))
    with torch.no_grad():
        answer = found.module(torch.zeros(1, *found.input_shape))
    assert len(answer) == 1


@functools.cache
def tiny_network() -> object:
    """Two layers."""
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    return ModelSource(module).build((1, 4, 4), 2)


def state_seeds() -> Iterator[bytes]:
    from safetensors.torch import save

    state = tiny_network().state_dict()  # type: ignore[attr-defined]
    yield b"\0" + save({name: tensor.contiguous() for name, tensor in state.items()})
    out = io.BytesIO()
    torch.save({"state_dict": state}, out)
    yield b"\1" + out.getvalue()
    yield b"\1" + b"\x80\x02}q\x00."


def state_mutator(data: bytes, random: object) -> bytes:
    """The header, where there is one."""
    return data[:1] + safetensors_mutator(data[1:], random) if data[:1] == b"\0" else data  # type: ignore[arg-type]


@target(state_seeds, memory_mb=128, seconds=20, most_bytes=8192, mutate=state_mutator)
def state_dict(data: bytes) -> None:
    """A user's weights, .safetensors (0) or .pt (1): all of them or an error, and no code is run."""
    suffix = "pt" if data[:1] == b"\1" else "safetensors"
    load_weights(tiny_network(), written(f"weights.{suffix}", data[1:]))  # type: ignore[arg-type]


def calibration_seeds() -> Iterator[bytes]:
    for array in (np.zeros((3, 1, 2, 2)), np.zeros((2, 1, 2, 2), np.uint8), np.zeros((4, 4), np.float32)):
        out = io.BytesIO()
        np.save(out, array)
        yield out.getvalue()


@target(calibration_seeds, memory_mb=64)
def calibration(data: bytes) -> None:
    """Samples for calibration, .npy."""
    assert read_calibration(written("samples.npy", data), (1, 2, 2)).shape[1:] == (1, 2, 2)


def point_seeds() -> Iterator[bytes]:
    for text in ("S2^RT+S3^RT, alpha=0.5, rho=0.5", "none", "full", "S2*2+S3^{RT}[outer], relus=25000", "S1^rt*"):
        yield text.encode()
    yield b"S1*" + b"9" * 4000
    yield b"S1,alpha=" + b"9" * 500


@target(point_seeds)
def points(data: bytes) -> None:
    """A point's name: what is read is written in a way that is read as the same."""
    found = parse_point(data.decode("utf-8", "replace"), STAGES)
    try:
        again = parse_point(str(found), STAGES)
    except PointError as error:
        raise AssertionError(f"{found} cannot be read") from error
    assert str(again) == str(found)


def goal_seeds() -> Iterator[bytes]:
    for text in ("relus<50k", "online<100ms@lan", "total<=2s@200Mbit,20ms", "traffic<50MB", "online < 1e400 s"):
        yield text.encode()


@target(goal_seeds)
def goals(data: bytes) -> None:
    """A target of a search."""
    found = parse_target(data.decode("utf-8", "replace"))
    assert parse_target(found.text) == found
