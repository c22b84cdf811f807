"""Files that others may have written: plans and weights, the results of searches and measurements, pictures, arrays."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import safetensors.numpy

from deepreduce.cli.pictures import read_input, read_picture
from deepreduce.plan import INPUT, Conv, Linear, Pictures, Plan, decode, digest, encode, predict
from deepreduce.plan.files import DIGEST, read_plan, read_weights
from deepreduce.plan.infer import shapes
from deepreduce.private.program import compile_plan
from deepreduce.report.html import render_html
from deepreduce.report.runs import read_run
from deepreduce.report.source import read_curve, read_search
from deepreduce.report.table import render_csv
from deepreduce.report.view import compute_view
from fuzz.edits import joined, parts
from fuzz.mutators import changed_json, json_mutator, safetensors_mutator
from fuzz.scratch import scratch, written
from fuzz.sessions_plan import PLAN, WEIGHTS
from fuzz.target import target
from random_plans import plan_with_mask, random_plan

SMALL = 1 << 16  # elements of a plan that the target also compiles, as a client would
PICTURED = replace(PLAN, pictures=Pictures((2, 6, 5), (0, 0), (1, 1), ()))


# --- plans and weights -----------------------------------------------------------------------------------------------


def canonical(content: Any) -> bytes:
    """As plans are written; anything else is refused before it is looked at."""
    return (json.dumps(content, sort_keys=True, indent=2) + "\n").encode("ascii", "replace")


def plan_seeds() -> Iterator[bytes]:
    yield encode(PLAN)
    yield encode(plan_with_mask()[0])
    for seed, bits in ((1, 32), (2, 48), (5, 20)):
        yield encode(random_plan(np.random.default_rng(seed), bits)[0])


@target(plan_seeds, memory_mb=256, seconds=20, most_bytes=16_000, mutate=json_mutator(canonical))
def plan(data: bytes) -> None:
    """plan.json: canonical or refused; what a client computes from a small one is bounded."""
    found = read_plan(written("plan.json", data))
    assert encode(found) == data
    elements = {INPUT: found.input_shape} | shapes(found)
    if sum(int(np.prod(shape)) for shape in elements.values()) < SMALL and not _heavy(found):
        for protocol in ("fused", "delphi"):
            compile_plan(found, protocol, 1)
            predict(found, protocol)


def _heavy(found: Plan) -> bool:
    """Whether its weights are many: packing them is the price of a plan that its owner asked for."""
    return any(isinstance(op, Conv | Linear) for op in found.ops) and len(found.ops) > 16


def weights_seeds() -> Iterator[bytes]:
    yield safetensors.numpy.save(WEIGHTS, metadata={DIGEST: digest(PLAN)})
    yield safetensors.numpy.save(WEIGHTS, metadata={DIGEST: "0" * 64})
    yield safetensors.numpy.save({name: w.astype(np.int32) for name, w in WEIGHTS.items()})


@target(weights_seeds, memory_mb=32, mutate=safetensors_mutator)
def weights(data: bytes) -> None:
    """weights.safetensors, for a plan that is trusted."""
    found = read_weights(written("weights.safetensors", data), PLAN)
    assert found.keys() == WEIGHTS.keys()
    assert all(found[name].dtype == kept.dtype and found[name].shape == kept.shape for name, kept in WEIGHTS.items())


# --- results ---------------------------------------------------------------------------------------------------------


def small_frontier() -> dict[str, Any]:
    """One network of each role: the invented content of the report's own tests."""
    from report_fixture import measured_frontier

    content = measured_frontier()
    content["networks"] = [content["networks"][i] for i in (0, 1, -1)]
    content["profile"]["layers"] = content["profile"]["layers"][:3]
    content["criticality"] = content["criticality"][:2]
    return content


def frontier_seeds() -> Iterator[bytes]:
    content = small_frontier()
    yield json.dumps(content).encode()
    del content["effort"]
    yield json.dumps({**content, "networks": content["networks"][:1], "criticality": []}).encode()


def plain(content: Any) -> bytes:
    """Without NaN's bytes becoming an error of the mutator."""
    return json.dumps(content).encode()


@target(frontier_seeds, memory_mb=128, seconds=20, most_bytes=16_000, mutate=json_mutator(plain))
def frontier(data: bytes) -> None:
    """frontier.json, as far as the report computes from it."""
    folder = written("search/frontier.json", data).parent
    view = compute_view(folder)
    assert view.search == read_search(folder)
    assert render_csv(view)
    assert render_html(view)


def run_seeds() -> Iterator[bytes]:
    from report_fixture import run

    network = small_frontier()["networks"][0]
    yield joined(json.dumps(run(network, network["private"]["fused@none"])).encode(), b"{}")
    yield joined(b"{}", json.dumps({"history": [{"epoch": 1, "validation_accuracy": 50.5}]}).encode())
    yield joined(b"{}", b'{"history": [{"epoch": 1, "validation_accuracy": NaN}]}')


def run_mutator(data: bytes, random: Random) -> bytes:
    """Both as JSON."""
    return joined(*(_changed(part, random) for part in parts(data, 2)))


def _changed(data: bytes, random: Random) -> bytes:
    try:
        return json.dumps(changed_json(json.loads(data), random)).encode()
    except (ValueError, RecursionError):
        return data


@target(run_seeds, most_bytes=16_000, mutate=run_mutator)
def runs(data: bytes) -> None:
    """run.json, and a training's curve, whose reader may also say `ValueError`."""
    first, second = parts(data, 2)
    written("search/runs/run.json", first)
    network = next(n for n in _networks() if n.job)
    written(f"search/jobs/{network.job}/metrics.json", second)
    with contextlib.suppress(ValueError):
        read_curve(scratch() / "search", network)
    run = read_run(scratch() / "search", "run.json")
    assert run.timed("online")


def _networks() -> tuple[Any, ...]:
    written("good/frontier.json", next(frontier_seeds()))
    return read_search(scratch() / "good").networks


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
    out = io.BytesIO()
    Image.new("RGB", (5, 6)).save(out, "GIF")
    yield out.getvalue()


@target(picture_seeds, memory_mb=768)
def picture(data: bytes) -> None:
    """A client's PNG or JPEG."""
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


assert decode(encode(PLAN)) == PLAN
