"""Files that others may have written: plans and weights, pictures, arrays."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import safetensors.numpy

from deepreduce.inference.client.inputs import read_input, read_picture
from deepreduce.inference.protocol.program import compile_plan
from deepreduce.plan import INPUT, Pictures, digest, encode, predict
from deepreduce.plan.serialization import DIGEST, read_plan, read_weights
from deepreduce.plan.shapes import shapes
from fuzz.mutators import json_mutator, safetensors_mutator
from fuzz.scratch import written
from fuzz.sessions_plan import PLAN, WEIGHTS
from fuzz.target import target
from random_plans import plan_with_mask, random_plan

SMALL = 1 << 16  # elements of a plan that the target also compiles, as a client would
PICTURED = replace(PLAN, input_shape=(1, 6, 5), pictures=Pictures((1, 12, 10), (99,), (1 << 16,), ()))


# --- plans and weights -----------------------------------------------------------------------------------------------


def canonical(content: Any) -> bytes:
    """As plans are written; anything else is refused before it is looked at."""
    return (json.dumps(content, sort_keys=True, indent=2) + "\n").encode("ascii", "replace")


def plan_seeds() -> Iterator[bytes]:
    yield encode(PLAN)
    yield encode(PICTURED)
    yield encode(plan_with_mask()[0])
    for seed, bits in ((1, 32), (2, 48), (5, 20)):
        yield encode(random_plan(np.random.default_rng(seed), bits)[0])


@target(plan_seeds, memory_mb=256, seconds=20, most_bytes=16_000, mutate=json_mutator(canonical))
def plan(data: bytes) -> None:
    """plan.json: canonical or refused; what a client computes from a small one is bounded."""
    found = read_plan(written("plan.json", data))
    assert encode(found) == data
    elements = {INPUT: found.input_shape} | shapes(found)
    if sum(int(np.prod(shape)) for shape in elements.values()) < SMALL:
        for protocol in ("ot", "delphi"):
            compile_plan(found, protocol, 1)
            predict(found, protocol)


def weights_seeds() -> Iterator[bytes]:
    yield safetensors.numpy.save(WEIGHTS, metadata={DIGEST: digest(PLAN)})
    yield safetensors.numpy.save(WEIGHTS, metadata={DIGEST: "0" * 64})
    header = b'{"__metadata__":null}'
    yield len(header).to_bytes(8, "little") + header
    yield safetensors.numpy.save({name: w.astype(np.int32) for name, w in WEIGHTS.items()})


@target(weights_seeds, memory_mb=32, mutate=safetensors_mutator)
def weights(data: bytes) -> None:
    """weights.safetensors, for a plan that is trusted."""
    found = read_weights(written("weights.safetensors", data), PLAN)
    assert found.keys() == WEIGHTS.keys()
    assert all(found[name].dtype == kept.dtype and found[name].shape == kept.shape for name, kept in WEIGHTS.items())


# --- pictures and arrays ---------------------------------------------------------------------------------------------


def picture_seeds() -> Iterator[bytes]:
    from PIL import Image

    for mode, form in (("RGB", "PNG"), ("L", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("1", "PNG"), ("I;16", "PNG")):
        out = io.BytesIO()
        Image.new(mode, (5, 6)).save(out, form)
        yield out.getvalue()
    for mode in ("RGB", "L", "CMYK"):
        out = io.BytesIO()
        Image.new(mode, (5, 6)).save(out, "JPEG")
        yield out.getvalue()
    for form in ("GIF", "BMP", "PPM", "WEBP", "TIFF"):
        out = io.BytesIO()
        Image.new("RGB", (5, 6)).save(out, form)
        yield out.getvalue()


@target(picture_seeds, memory_mb=768)
def picture(data: bytes) -> None:
    """A client's picture."""
    path = written("picture.png", data)
    for shape in ((3, 6, 5), (1, 6, 5)):
        pixels = read_picture(path, shape, resize=bool(len(data) % 2))
        assert pixels.shape == shape
        assert pixels.dtype == np.uint8


def array_seeds() -> Iterator[bytes]:
    for array in (
        np.zeros((2, 6, 5)),
        np.zeros((2, 6, 5), np.float32, "F"),
        np.zeros((2, 6, 5), bool),
        np.zeros(3, "U2"),
    ):
        out = io.BytesIO()
        np.save(out, array)
        yield out.getvalue()[:400]
    out = io.BytesIO()
    np.savez(out, a=np.zeros(2))
    yield out.getvalue()


def array_mutator(data: bytes, random: Random) -> bytes:
    """The header's text, within its length."""
    if data[:6] != b"\x93NUMPY":
        return data
    header = bytearray(data[:128])
    old, new = random.choice(
        (
            (b"<f8", b"<i8"),
            (b"(2, 6, 5)", b"(2, 6,50)"),
            (b"5)", b"99999999)"),
            (b"False", b"True"),
            (b"<f8", b"|O8"),
            (b"2,", b"-2,"),
        )
    )
    changed = header[10:].replace(old, new, 1)
    return bytes(header[:10] + changed[: len(header) - 10].ljust(len(header) - 10)) + data[128:]


@target(array_seeds, memory_mb=64, mutate=array_mutator)
def array(data: bytes) -> None:
    """A client's .npy file."""
    found = read_input(written("input.npy", data), PLAN, array=True, resize=False)
    assert found.shape == PLAN.input_shape
    assert np.isfinite(found).all()
